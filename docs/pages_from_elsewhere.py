"""A hook of mkdocs: files of the repository that are pages of the site too, and links that lead to them.

So each of them stands once, where people who have only the repository look for it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {  # file of the repository: page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "src/wieldy/package/SPEC.md": "package_format.md",
}
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for origin, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / origin).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Let links lead to where things are on the site."""
    return LINK.sub(
        lambda link: link[1] + to_site(link[2], page.file.src_uri) + (link[3] or "") + link[4], markdown
    )


def to_site(target: str, page: str) -> str:
    """Return a link of a page as it must be on the site; it is written as it must be in the repository."""
    if ":" in target:
        return target
    origin = next((file for file, name in PAGES.items() if name == page), f"docs/{page}")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    inside = PAGES.get(path, path.removeprefix("docs/"))
    return posixpath.relpath(inside, posixpath.dirname(page) or ".")
