"""Built pages fetch nothing from elsewhere: what the theme could fetch is cut out, and every file is checked.

Links that a reader follows may lead anywhere; scripts, styles, fonts and pictures may not.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

# What the theme's script fetches where a browser lacks something, or a page holds such a diagram
REMOTE_SCRIPT = re.compile(r"https://unpkg\.com/[\w@./-]+")
EMPTY_SCRIPT = "data:text/javascript,"
FETCHED = {
    ".html": re.compile(
        r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data|srcset)=[\"']?(?:https?:)?//"
        r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preconnect|dns-prefetch|preload|prefetch|icon))"
        r"[^>]*?\bhref=[\"']?(?:https?:)?//",
        re.IGNORECASE,
    ),
    ".css": re.compile(r"@import\s+[\"'(u]|url\(\s*[\"']?(?:https?:)?//", re.IGNORECASE),
    ".js": re.compile(r"https?://(?:unpkg|cdn|cdnjs|fonts)\b[\w./@-]*|https?://[\w.-]*jsdelivr[\w./@-]*"),
}


def on_post_build(config: Any) -> None:
    """After the build: cuts, checks; an error names the file and what it would fetch."""
    for path in sorted(Path(config["site_dir"]).rglob("*")):
        pattern = FETCHED.get(path.suffix)
        if pattern is None:
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".js":
            cut = REMOTE_SCRIPT.sub(EMPTY_SCRIPT, text)
            if cut != text:
                path.write_text(cut, encoding="utf-8")
            text = cut
        if found := pattern.search(text):
            raise PluginError(f"{path}: would fetch {found[0]!r}, want nothing from elsewhere")
