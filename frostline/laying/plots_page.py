"""The page that `dvc plots` draws on, with Vega inside, so that its charts need no network.

DVC's own page loads Vega from the internet; offline its charts are blank. `.dvc/config` names this page instead
(`plots.html_template`), and `dvc plots show` and `dvc plots diff` put their charts into it.
"""

import argparse
from pathlib import Path

import vl_convert

from frostline.files import open_whole_file

# Of the major version that DVC's built-in templates and those in .dvc/plots are written for.
VEGA_LITE = "5.21"

# DVC puts the charts in place of {plot_divs}. {scripts} is left out on purpose: DVC would put its download tags there.
# The function keeps the bundle's hundreds of short global names away from the scripts that DVC writes.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
    <meta charset="utf-8">
    {refresh_tag}
    <title>dvc plots</title>
    <style>
        body { font-family: sans-serif; margin: 24px; }
        body > div { margin-bottom: 40px; }
    </style>
    <script>(() => {
BUNDLE
})();</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def write_page() -> str:
    """Return the HTML template: one file of about 0.9 MB that defines `vegaEmbed` and loads nothing.

    Raises `ValueError` when the bundle holds text that would end the script early or that DVC would replace.
    """
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    for reserved in ("</script", "<!--", "{scripts}", "{plot_divs}", "{refresh_tag}"):
        if reserved in bundle.lower():
            raise ValueError(f"the Vega bundle must be free of {reserved!r}. Got one with it instead.")
    return PAGE.replace("BUNDLE", bundle)


def write_plots_page(out: Path) -> None:
    """Write the page to `out`, whole or not at all."""
    with open_whole_file(out) as unfinished:
        unfinished.write_text(write_page(), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the page is written")
    write_plots_page(parser.parse_args().out)
