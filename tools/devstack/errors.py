"""The one error of the stack: a sentence for a person, and what to do about it."""

from typing_extensions import override


class StackError(Exception):
    """Something a person must know; ``hint`` says what to do, ``log_tail`` shows the last lines."""

    def __init__(self, message: str, *, hint: str = "", log_tail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log_tail = log_tail

    @override
    def __str__(self) -> str:
        parts = [self.message]
        if self.log_tail:
            parts.append(self.log_tail.rstrip())
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)
