"""The HTML around the sections: one file, no script, nothing fetched."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import NamedTuple

from nasjax.report.drawing.svg import without_style
from nasjax.report.drawing.theme import MONO, SANS, STYLE

_CSS = f"""
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 {SANS}}}
main,header>div,footer{{max-width:1080px;margin:0 auto;padding:0 20px}}
header{{background:var(--wash);border-bottom:1px solid var(--line);padding:26px 0 14px}}
h1{{margin:0 0 6px;font-size:1.75rem;line-height:1.2;overflow-wrap:anywhere}}
h2{{margin:46px 0 12px;font-size:1.25rem;border-bottom:1px solid var(--line);
padding-bottom:6px}}
h3{{margin:22px 0 6px;font-size:1rem}}
p{{margin:8px 0;max-width:72ch}}
.facts{{color:var(--muted);margin:0}}
.badge{{display:inline-block;margin:8px 0 4px;padding:2px 12px;border-radius:99px;
border:1px solid currentColor;font-size:.85rem;font-weight:600}}
.done{{color:var(--c2)}}.open{{color:var(--c1)}}
nav{{margin-top:10px;font-size:.9rem;display:flex;flex-wrap:wrap;gap:2px 16px}}
nav a{{color:var(--c0)}}
.note{{color:var(--muted);font-size:.9rem}}
.problem{{border-left:4px solid var(--c1);padding:2px 12px;background:var(--wash)}}
.findings{{padding-left:1.1em;max-width:76ch}}.findings li{{margin:5px 0}}
pre{{background:var(--wash);border:1px solid var(--line);border-radius:8px;
padding:10px 12px;overflow-x:auto;font:13px/1.5 {MONO}}}
pre.wrap{{white-space:pre-wrap;overflow-wrap:anywhere}}
.scroll{{overflow-x:auto;margin:10px 0}}
.scroll svg{{display:block}}
.grid-maps{{display:flex;flex-wrap:wrap;gap:8px 32px}}.grid-maps>*{{max-width:100%}}
.grid-charts{{display:grid;gap:14px 22px;
grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr))}}
.grid-panels{{display:grid;gap:6px 8px;margin:8px 0;
grid-template-columns:repeat(auto-fill,minmax(min(46%,180px),1fr))}}
.grid-charts svg,.grid-panels svg{{width:100%;height:auto;display:block}}
.grid-tables{{display:grid;gap:4px 30px;align-items:start;
grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr))}}
table{{border-collapse:collapse;font-size:.9rem;width:100%}}
th,td{{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid var(--line);
vertical-align:top}}
td{{overflow-wrap:break-word}}.grid-tables>*{{min-width:0}}
td.figure,th.figure{{text-align:right;font-variant-numeric:tabular-nums;
white-space:nowrap}}
th{{font-weight:600}}tbody th{{font-weight:400;color:var(--muted)}}
.key{{display:flex;flex-wrap:wrap;gap:3px 16px;font:13px {MONO};margin:6px 0}}
.key svg{{vertical-align:middle;margin-right:6px}}
footer{{margin:50px auto 30px;color:var(--muted);font-size:.85rem}}
@media screen and (max-width:640px){{.scroll>svg{{width:100%;height:auto}}
.findings{{overflow-wrap:anywhere}}}}
@media print{{body{{font-size:11pt}}header{{background:none}}nav{{display:none}}
main,header>div,footer{{max-width:none;padding:0}}
.grid-charts,.grid-maps{{display:grid;grid-template-columns:1fr 1fr}}
.grid-panels{{grid-template-columns:repeat(4,1fr)}}
.scroll{{overflow:visible}}.scroll svg{{max-width:100%;height:auto}}
tr,svg,pre{{break-inside:avoid}}pre{{white-space:pre-wrap}}h2,h3{{break-after:avoid}}}}
"""


class Section(NamedTuple):
    """A part of the page; without a body it is left out."""

    anchor: str
    title: str
    body: str


def page(
    *, title: str, facts: str, status: str, finished: bool, sections: Iterable[Section]
) -> str:
    """The whole document.

    Args:
      title: heading, plain text like facts and status.
      facts: one line below it.
      status: what the badge says.
      finished: whether the badge is green.
      sections: bodies are HTML.
    """
    shown = [section for section in sections if section.body]
    links = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in shown)
    body = "".join(
        f'<section id="{s.anchor}"><h2>{escape(s.title)}</h2>{s.body}</section>'
        for s in shown
    )
    return (
        '<!DOCTYPE html>\n<html lang="en" class="nj"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        # Should a value ever slip through unescaped: nothing loads, nothing runs.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}{_CSS}</style></head><body>"
        f"<header><div><h1>{escape(title)}</h1>"
        f'<p class="facts">{escape(facts)}</p>'
        f'<span class="badge {"done" if finished else "open"}">{escape(status)}</span>'
        f'<nav aria-label="Sections">{links}</nav></div></header>'
        f"<main>{body}</main><footer>Written by nasjax from the files of this "
        "workdir; writing it again shows what has come since.</footer></body></html>\n"
    )


def paragraph(content: str, *, style: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{style}">{escape(content)}</p>'


def table(
    rows: Iterable[Iterable[str]], *, head: Iterable[str] = (), figures: int = 0
) -> str:
    """A table of plain text, each row's first cell its heading.

    Args:
      rows: cells.
      head: headings of the columns.
      figures: how many columns, from the right, are numbers.
    """
    parts = ['<div class="scroll"><table>']
    titles = list(head)
    if titles:
        cells = "".join(
            _cell(t, "th", figure=i >= len(titles) - figures, scope="col")
            for i, t in enumerate(titles)
        )
        parts.append(f"<thead><tr>{cells}</tr></thead>")
    parts.append("<tbody>")
    for row in rows:
        first, *rest = row
        cells = _cell(first, "th", figure=False, scope="row") + "".join(
            _cell(cell, "td", figure=i >= len(rest) - figures)
            for i, cell in enumerate(rest)
        )
        parts.append(f"<tr>{cells}</tr>")
    return "".join(parts) + "</tbody></table></div>"


def _cell(content: str, tag: str, *, figure: bool, scope: str = "") -> str:
    style = ' class="figure"' if figure else ""
    scope = f' scope="{scope}"' if scope else ""
    return f"<{tag}{scope}{style}>{escape(content)}</{tag}>"


def scrolling(svg: str) -> str:
    """A drawing in its own size; narrow screens scroll it."""
    return f'<div class="scroll">{without_style(svg)}</div>'


def charts(svgs: Iterable[str], *, style: str = "grid-charts") -> str:
    """Drawings side by side, as many as fit."""
    inner = "".join(f"<div>{without_style(svg)}</div>" for svg in svgs)
    return f'<div class="{style}">{inner}</div>' if inner else ""


def key(colours: Mapping[str, int]) -> str:
    """What each colour stands for."""
    items = "".join(
        '<span><svg class="nj" width="20" height="8" aria-hidden="true">'
        f'<path class="curve c{colour}" style="stroke-width:3" d="M0 4h20"'
        + (' stroke-dasharray="4 3"' if name == "none" else "")
        + f"/></svg>{escape(name)}</span>"
        for name, colour in colours.items()
    )
    return f'<div class="key">{items}</div>'
