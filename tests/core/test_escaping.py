import html
import re

import pytest
from markdown_it import MarkdownIt

from resnet_lab.core.escaping import cell, code, fenced, latex, markdown, yaml

NAMES = [
    "plain", "large_kernel", "a|b *c* <script> `d`", "[x](http://example.org)", "![x](y)", "# x", "&amp;",
    "~~x~~", "\\|",
]  # fmt: skip


def rendered(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_names_as_they_are(name: str) -> None:
    page = rendered(f"| a | b |\n|---|---|\n| {markdown(name)} | {code(name)} |\n")
    escaped, inline = re.findall("<td>(.*?)</td>", page)
    assert html.unescape(escaped) == name
    assert html.unescape(re.sub("</?code>", "", inline)) == name.replace("`", "'")
    assert rendered(f"# {markdown(name)}").startswith("<h1>")
    assert "\n" not in markdown("a\nb")


@pytest.mark.parametrize("text", ["x", "a\n```\nb", "````", "~~~\n<b>"])
def test_a_fence_is_longer_than_any_within(text: str) -> None:
    page = rendered(f"{fenced(text, 'text')}\n\nafter")
    assert page == f'<pre><code class="language-text">{html.escape(text)}\n</code></pre>\n<p>after</p>\n'


def test_yaml_reads_texts_as_they_are() -> None:
    library = pytest.importorskip("yaml")
    for text in ("a: b", '"quoted"', "back\\slash", "# no comment", "\U0001f3a8 ü", "- x", "null", "1e3"):
        assert library.safe_load(f"x: {yaml(text)}") == {"x": text}
    assert library.safe_load(f"x: {yaml(chr(0xDC80) + chr(127))}") == {"x": "\\udc80\\x7f"}


def test_latex_by_hand() -> None:
    assert latex("[a]*") == "{[}a{]}{*}"  # after a line break, `[2pt]` and `*` would be its own
    assert latex(r"50% & \x_1 #$^~{}") == (r"50\% \& \textbackslash{}x\_1 \#\$\textasciicircum{}\textasciitilde{}\{\}")
    assert latex("a\nb") == r"a\textbackslash{}nb"


def test_cells_of_a_spreadsheet() -> None:
    for text in ("=1+1", "+x", "-x", "@x", "\tx", "\rx"):
        assert cell(text) == f"'{text}"
    for value in ("a=1", "", "-1", "+1e-3", -1.5, None, True, "x-y"):
        assert cell(value) == value
