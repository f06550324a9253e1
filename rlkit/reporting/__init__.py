"""One HTML file about one or several runs: what they were, how they went, and every logged completion with its evidence.

`folders` reads runs, `curves` makes charts of their metrics, `completions` explains their samples, `blobs` packs it all,
`page` writes the file. What the reader's browser does stands in the `.js` files, and in uPlot (MIT), which draws the curves.
"""
