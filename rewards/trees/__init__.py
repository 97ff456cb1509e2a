"""Expression trees and what can be told of them with numbers: exactly, in floating point, to many digits."""
