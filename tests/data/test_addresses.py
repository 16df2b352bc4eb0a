"""What is an address and what is a file; HTTP is loaded with the first address alone. Fetching: test_fetching.py."""

import subprocess
import sys

from support.session import ROOT
from tl.data.inputs import is_address


def test_what_is_meant_as_an_address() -> None:
    assert all(map(is_address, ("http://a", "HTTPS://a/b?c=d", "s3://a", "git+ssh://a")))
    assert not any(map(is_address, ("a.jpg", "c:/a", "c://a", "a/b.jpg", "://", "é://", "a b://", "photos/http://a")))


def test_files_do_without_http() -> None:
    code = "import sys, tl.workflows.predict; print(sorted({'http.client', 'ssl', 'sqlite3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"
