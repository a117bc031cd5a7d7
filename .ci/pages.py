"""Look at every page of the documentation in a browser, narrow and wide: python .ci/pages.py [FOLDER]

Prints what is wider than the screen, equations wider than the text, pictures that do not load and errors of scripts,
and ends with 1 if there are any.
Without a browser it says so and ends with 0.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browsing import browsing, missing  # noqa: E402

WIDTHS = (1280, 390)
BROKEN = "Array.from(document.images).filter((i) => i.complete && !i.naturalWidth).map((i) => i.getAttribute('src'))"

CUT = """Array.from(document.querySelectorAll('math[display=block]'))
    .filter((m) => Math.max(m.scrollWidth, m.clientWidth) > 1.02 * m.parentElement.clientWidth)
    .map((m) => m.textContent.trim().slice(0, 40))"""  # other fonts are a little wider


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "_build" / "html"
    if why := missing():
        print(f"The pages were not looked at in a browser: {why}.")
        return 0
    pages = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    found: list[str] = []
    with browsing() as browser:
        page = browser.new_page(color_scheme="dark")
        page.on("pageerror", lambda error: found.append(f"{page.url}: {error}"))
        for path in pages:
            page.set_viewport_size({"width": WIDTHS[0], "height": 900})
            page.goto(path.as_uri(), wait_until="load")
            found += [f"{path.relative_to(folder)}: cut off: {equation}" for equation in page.evaluate(CUT)]
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                wide = page.evaluate("document.documentElement.scrollWidth")
                if wide > width:
                    found.append(f"{path.relative_to(folder)}: {wide} pixels wide on a screen of {width}")
            page.evaluate("Array.from(document.images).forEach((i) => { i.loading = 'eager'; })")
            page.wait_for_load_state("load")
            found += [f"{path.relative_to(folder)}: {name} does not load" for name in page.evaluate(BROKEN)]
    print("\n".join([*found, f"{len(pages)} pages looked at, {len(found)} faults"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
