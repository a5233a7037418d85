"""Ask the quickstart's endpoint one question with the OpenAI SDK: `ask.py ENV_FILE KEY_FILE`.

Exit status 3 when the gateway does not take the key, 1 when it answers with another error.
"""

import re
import sys
from pathlib import Path

from openai import APIError, AuthenticationError, OpenAI

MODEL = "chat"
QUESTION = "What is the capital of France? Answer in one short sentence."
REFUSED = 3


def main(env_file: str, key_file: str) -> int:
    """Print question and answer."""
    found = re.search(r"^export OPENAI_BASE_URL=(.*)$", Path(env_file).read_text(), re.MULTILINE)
    assert found is not None, f"{env_file} names no OPENAI_BASE_URL"
    try:
        key = Path(key_file).read_text().strip()
    except FileNotFoundError:
        return REFUSED
    client = OpenAI(base_url=found[1].strip("'"), api_key=key, timeout=120)
    try:
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}], max_tokens=60, temperature=0)
    except AuthenticationError as error:
        print(error.message, file=sys.stderr)
        return REFUSED
    except APIError as error:
        print(error.message, file=sys.stderr)
        return 1
    print(f"  you   {QUESTION}\n  {MODEL}  {answer.choices[0].message.content}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
