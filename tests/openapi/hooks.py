"""What schemathesis is not to send to the local system.

`cargo lambda watch`, which stands for the gateway there, answers what is not text with a 500 of its own, before any function sees it. What
the functions answer to such bodies and headers is tested in tests/bad_input.rs and tests/idempotency.rs.
"""

import schemathesis


@schemathesis.hook
def filter_case(context, case):
    """Only bodies in UTF-8 and headers in ASCII."""
    if isinstance(case.body, bytes):
        try:
            case.body.decode()
        except UnicodeDecodeError:
            return False
    return all(str(value).isascii() for value in (case.headers or {}).values())
