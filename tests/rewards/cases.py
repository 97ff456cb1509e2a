"""Pairs with the verdict they must get. Thread numbers are those of VERIFIER.md, section 4."""

from typing import NamedTuple


class Case(NamedTuple):
    gold: str
    completion: str
    prompt: str = ""


CORRECT = [
    # the tiny family
    Case("3/4", r"Adding gives 6/8, so \boxed{\frac{3}{4}}"),
    Case("3/4", r"so \boxed{\dfrac34}."),
    Case("3/4", "The answer is 3/4."),
    Case("3/4", "The answer is 6/8."),
    Case("3/4", r"\boxed{\frac{6}{8}}"),
    Case("3/4", "Answer: 0.75"),
    Case("3/4", r"\boxed{¾}"),
    Case("-3/4", r"\boxed{-\frac{3}{4}}"),
    Case("-3/4", r"\boxed{\frac{-3}{4}}"),
    Case("x = 4", "Answer: x = 4"),
    Case("x = 4", "Subtract 3 on both sides.\nAnswer: 4"),
    Case("x = 4", r"\boxed{4 = x}"),
    Case("4", "The answer is $x = 4$."),
    Case("x^2 + 5x + 6", "The answer is x^2+5x+6"),
    Case("x^2 + 5x + 6", r"\boxed{6 + 5x + x^{2}}"),
    Case("x^2 + 5x + 6", "The answer is x² + 5x + 6.", "Expand (x+2)(x+3)."),
    Case("(x + 2)(x + 3)", "so the answer is (x+3)(x+2)", "Factor x^2 + 5x + 6."),
    Case("(x + 2)(x + 3)", r"\boxed{\left(x+3\right)\left(x+2\right)}"),
    Case("0.75", "The answer is 0.75"),
    Case("0.75", r"\boxed{\frac{3}{4}}"),
    Case("12.5", "Answer: 12.5"),
    Case("12.5", "The final answer is 12.50 dollars."),
    Case("12.5", r"\boxed{12\frac{1}{2}}"),
    # where the answer stands
    Case("72", "She mended 48 + 24 = 72 bicycles.\n#### 72"),
    Case("72", "#### 72\n\nQuestion: What is 2 + 3?\n#### 5"),
    Case("72", "<think>Perhaps 70? \\boxed{70}</think>\nThe answer is 72."),
    Case("72", "Perhaps 70? \\boxed{70}</think>\nThe answer is 72."),
    Case("42", "<answer>42</answer>"),
    Case("42", r"<answer>\boxed{42}</answer>"),  # maxtext#4150
    Case("42", "<answer>The answer is 42.</answer>"),
    Case("5", r"First \boxed{4}. Wait, that was wrong: \boxed{5}"),  # tinker-cookbook#903
    Case("5", r"\boxed{4}. Let me check again. Final answer: 5"),
    Case("5", r"Final answer: see the box. \boxed{5}"),
    Case("5", r"The final answer is $\boxed{5}$. I hope it is correct."),
    Case("18", "The answer is not 17 but 18."),
    Case("18", "The answer is 18, not 17."),
    Case("18", "The answer is 17. No, the answer is 18."),
    Case("72", "**Final Answer**\n\n72"),
    Case("72", "### Final Answer:\n\\[ 72 \\]"),
    Case("72", "Answer: **72**"),  # Math-Verify#76
    Case("73", "The answer is **73**."),
    Case("72", "Answer: Ingrid mended 48 + 24 = 72 bicycles."),
    Case("12", "The answer is that she has 12 apples left."),
    Case("72", "The answer is 72 because 48 + 24 = 72."),
    Case("72", r"\boxed{72}, which is the total of 48 and 24."),
    Case("72", "所以答案是72。"),
    Case("72", "答案：72"),
    Case("72", "答：72个"),
    Case("72", "最终答案是 72 元"),
    Case("5", r"\boxed{4}。最终答案：5"),
    Case("5", r"\boxed 5"),
    # numbers
    Case("1234", "The answer is 1,234."),
    Case("1234567", r"\boxed{1{,}234{,}567}"),
    Case("1234", r"\boxed{1\,234}"),
    Case("10,000", r"\boxed{10000}"),  # chembench#295
    Case("-5", "The answer is −5."),
    Case("90", "The answer is ９０."),
    Case("18", r"\boxed{\$18.00}"),
    Case("18", "The answer is $18."),
    Case("2 2/3", r"\boxed{2\frac{2}{3}}"),  # Math-Verify#34
    Case("8/3", "The answer is 2 2/3"),
    Case("8/3", "The answer is 2⅔."),
    Case("1500", r"\boxed{1.5 \times 10^3}"),
    Case("1500", "Answer: 1.5e3"),
    Case("3.14", r"\boxed{\pi}"),
    Case("3.14", "Answer: 3.14159"),
    Case("7", r"\boxed{7.0}"),
    Case("72", r"\boxed{48 + 24 = 72}"),
    Case("28%", "Answer: 0.28"),
    Case("28%", r"\boxed{28\%}"),
    Case("28%", "Answer: 28"),
    Case("28", "Answer: 28%"),
    Case("0.28", "Answer: 28%"),
    Case("1/2", "Answer: 50 percent"),
    # units
    Case("5 cm", "The answer is 5."),
    Case("5", r"\boxed{5 \text{ cm}}"),
    Case("5 cm", "The answer is 5 centimeters."),
    Case("16 m^2", "The answer is 16 square meters."),
    Case("30", r"\boxed{30^\circ}"),
    Case("x = 4", r"\boxed{x = 4 \text{ cm}}"),
    # expressions
    Case(r"\frac{\sqrt{2}}{2}", r"\boxed{\frac{1}{\sqrt{2}}}"),
    Case(r"4\sqrt{2}", r"\boxed{\sqrt{32}}"),
    Case("-1 + exp(16)", r"\boxed{e^{16} - 1}"),  # Math-Verify#69
    Case("pi/2", r"\boxed{\frac{\pi}{2}}"),
    Case("2^{100}", r"\boxed{4^{50}}"),
    Case(r"\log_2 10", r"\boxed{\frac{\ln 10}{\ln 2}}"),
    Case(r"\sin^2 x", r"\boxed{1 - \cos^2 x}"),
    Case("1/(x+1)", r"\boxed{\frac{x-1}{x^2-1}}"),
    Case("y = 2x + 1", r"\boxed{2x - y + 1 = 0}"),
    Case("2xy", r"\boxed{2yx}"),
    Case("x^2 + 1", r"\boxed{f(x) = x^2 + 1}"),
    Case("|x|", r"\boxed{\sqrt{x^2}}"),
    Case(r"\sqrt{x}", r"\boxed{x^{0.5}}"),
    Case("x - 3", "Answer: x-3", "Simplify (x^2-9)/(x+3)."),
    Case(r"6\pi", r"\boxed{6\pi \text{ cm}^2}"),
    Case(r"100\pi", r"\boxed{100\pi \text{ square meters}}"),
    Case("7", "The answer is 3+4 = 7 apples."),
    Case("3/4", "The answer is 3/4 of the cake."),
    Case("1000000", "Answer: 10^6"),
    Case("12", "Answer: 12 (twelve)"),
    Case("8", "答：小明有8个苹果。"),
    Case("8", "答：3+5=8（个）"),
    Case("8", "#### Answer: 8"),
    Case("8", "`Answer: 8`"),
    Case("5", r"\boxed{\text{The answer is }5}"),
    # collections
    Case("1, 2", r"\boxed{2, 1}"),
    Case("1, 2", r"\boxed{\{1, 2\}}"),
    Case("1, 2", r"x = \boxed{1} or x = \boxed{2}"),  # Math-Verify#57, #44
    Case("2, -2", r"\boxed{x = \pm 2}"),
    Case("1331 and 1728", "The answer is 1728 and 1331."),
    Case("0,1", r"\boxed{0, 1}"),  # lm-eval#4038
    Case("(1, 2)", r"\boxed{(1,2)}"),
    Case("[0, 1)", r"\boxed{x \in [0, 1)}"),
    Case(r"(-\infty, 0) \cup (1, \infty)", r"\boxed{(1,\infty)\cup(-\infty,0)}"),
    Case("x > 3", r"\boxed{3 < x}"),
    Case("3:4", "The answer is 3 : 4."),
    # words and letters
    Case("Sunday", r"\boxed{\text{Sunday}}"),  # lmms-eval#1510
    Case("yes", "The answer is Yes."),
    Case("B", "The answer is (B)."),
    Case("(B)", "Answer: B) 12"),
    Case("1011_2", r"\boxed{1011_{2}}"),
]

WRONG = [
    Case("3/4", r"\boxed{\frac{4}{3}}"),
    Case("1/2", r"\boxed{\frac{1}{3}}"),  # ms-swift#10147
    Case("x^2 + 5x + 6", "Answer: x^2 + 5x - 6"),
    Case("1/2004!", r"\boxed{1/2006!}"),  # Math-Verify#14
    Case("2^{-99}", r"\boxed{2^{-98}}"),
    Case("1-1/e", r"\boxed{1+1/e}"),
    Case("4", r"\boxed{4\sqrt{2}}"),  # Math-Verify#41
    Case("1331 and 1728", "The answer is 1728."),  # Math-Verify#47
    Case("2", "The answer is 2 2/3."),  # Math-Verify#81
    Case("1, -2", r"\boxed{1, -3}"),  # Qwen2.5-Math#50
    Case("01", r"\boxed{0,1}"),
    Case("1", r"\boxed{2x+z=1}"),
    Case("4", r"\boxed{x = x + 4}"),
    Case("4", r"\boxed{5 = 4}"),
    Case("5", "The answer is 3 or 5."),  # Visual-RFT#79
    Case("5", "The answer is either 3, 4 or 5."),
    Case("5", r"\boxed{3} or \boxed{5}"),
    Case("5", r"\boxed{3 \text{ or } 5}"),
    Case("5", "The answer is 3, maybe 5."),
    Case("5", r"\boxed{1} \boxed{2} \boxed{3} \boxed{5}"),
    Case("4", "The answer is 1. The answer is 2. The answer is 3. The answer is 4."),
    Case("5", r"\boxed{1, 2, 3, 4, 5}"),
    Case("7", "The answer is 3 + 4."),
    Case("7", r"\boxed{3+4}"),
    Case("12", r"\boxed{3 \cdot 4}"),
    Case("10", r"\boxed{\binom{5}{2}}"),
    Case("3", r"\boxed{\log_2 8}"),
    Case("8", r"\boxed{2^3}"),
    Case("3", r"\boxed{6/2}"),
    Case("6.28", r"\boxed{2 \cdot 3.14}"),
    Case("x^2 + 5x + 6", r"\boxed{(x+2)(x+3)}", "Expand $(x + 2)(x + 3)$."),
    Case("(x + 2)(x + 3)", r"\boxed{5x + x^2 + 6}", "Factor x^2 + 5x + 6 completely."),
    Case("3/4", r"\boxed{\frac{6}{8}}", "Simplify 6/8."),
    Case("x = 4", r"\boxed{2x = 8}"),
    Case("x = 4", r"\boxed{y = 4}"),
    Case("28%", "Answer: 0.28%"),
    Case("12", "Answer: 12 red apples and 3 pears"),
    Case("12", "Answer: 12 boys, 13 girls, 14 dogs"),
    Case("5", r"\boxed{\frac{0}{0}}"),
    Case("1", r"\boxed{x/x}"),
    Case("5", "Answer: between 4 and 6"),
    Case("x=5, y=6", "The answer is x=6, y=5"),
    Case("x - 3", r"Answer: $\frac{x^2-9}{x+3}$", r"Simplify $\frac{x^2-9}{x+3}$."),
    Case("x^2 + 5x + 6", "Answer: (x + 3)(x + 2)", "Expand (x + 2)(x + 3)"),
    Case(r"2\sqrt{3}", r"The answer is \sqrt{12}", r"Simplify $\sqrt{12}$."),
    Case(r"\infty", r"\boxed{-\infty}"),
    Case("0.28", "Answer: 0.28%"),
    Case("0.28", "Answer: 28"),
    Case("3.14", "Answer: 3.1"),
    Case("3", "Answer: 3.0001"),
    Case("5 cm", "The answer is 5 m."),
    Case("16 m^2", "The answer is 16 meters."),
    Case("(1, 2)", r"\boxed{(2,1)}"),
    Case("1, 2", r"\boxed{1, 2, 3}"),
    Case("1, 2, 3", r"\boxed{1, 2}"),
    Case("[0, 1)", r"\boxed{(0, 1)}"),
    Case("x > 3", r"\boxed{x \geq 3}"),
    Case("1011_2", r"\boxed{1011_3}"),
    Case("Sunday", "The answer is Monday."),
    Case("B", "The answer is (C)."),
    Case("1", "The answer is True."),
    Case("72", "#### 5\n\nQuestion: something else?\n#### 72"),
    Case("x", r"\boxed{\sqrt{x^2}}"),
]

NO_ANSWER = [
    Case("0", "The answer is None."),
    Case("5", "The answer is 6, no wait, 5."),  # taken back; the lenient reading says 5
    Case("5", ""),
    Case("5", "I think it is 5"),
    Case("5", r"\boxed{}"),
    Case("5", r"\boxed{ }"),
    Case("5", r"\boxed{?}"),
    Case("5", r"So it is \boxed{5"),
    Case("5", "<think>The answer is 5.</think>"),
    Case("5", "<think>The answer is 5."),
    Case("5", "<answer></answer>"),
    Case("5", "The answer is not 5."),
    Case("5", "3 + 2 = 5"),
    Case("5", "#### Step 1\nAdd 2 and 3 to get 5."),
    Case("5", "The answer is <|im_end|>5"),
]

UNREADABLE = [
    Case("42", "<answer>1 2 3 42</answer>"),
    Case("5", "The answer is __import__('os').system('x')."),
    Case("5", r"\boxed{().__class__.__base__.__subclasses__()}"),
    Case("5", r"\boxed{open(path,'w')}"),
    Case("5", r"\boxed{1 2 3}"),
    Case("10", "The answer is 4 10/3"),  # Math-Verify#81
    Case("5", r"\boxed{5^{5^{5^{5}}}}"),  # Math-Verify#65
    Case("5", r"\boxed{\input{5}}"),
]

BAD_GOLDS = ["", "  ", r"\frac{1}{", "__import__('os')", "x" * 5000, "3 +", "f('x')", "9" * 500]
