"""Where in a response its final answer stands: candidates, hedges, denials, and the decision between them."""
