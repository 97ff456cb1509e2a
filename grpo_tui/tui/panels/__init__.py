"""The panels of the screens: each turns a RunView into lines, and says what it depends on."""
