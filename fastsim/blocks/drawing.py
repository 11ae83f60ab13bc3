"""A chain as text and as SVG: its blocks, what they take and give, and who hands what to whom."""

from __future__ import annotations

from html import escape

from fastsim.blocks.block import Block, listed
from fastsim.blocks.chain import Chain
from fastsim.blocks.choice import Choice


def text(chain: Chain) -> str:
    """Return the chain as lines.

    >>> regress = Block("mlp", {"visible": (8,)}, {"taus": (6,)}, name="regress", options={"width": 4})
    >>> print(text(Chain([regress], name="tau pairs")))
    tau pairs
      takes    visible (8)
      regress: mlp (86 numbers)
        takes  visible (8)
        gives  taus (6)
    """
    lines = [chain.name, f"  takes    {listed(chain.inputs)}"]
    for block in chain:
        lines += [f"  {block.name}: {what(block)}", f"    takes  {listed(block.inputs)}"]
        lines.append(f"    gives  {listed(block.outputs)}")
    return "\n".join(lines)


def what(block: Block) -> str:
    """Return what a block is: its kind, or its candidates, with the number of its parameters."""
    if isinstance(block, Choice):
        return "one of " + ", ".join(f"{label} ({_size(block[label])})" for label in block.labels)
    if isinstance(block, Chain):
        return f"chain of {', '.join(part.name for part in block)} ({_size(block)})"
    return f"{block.kind or type(block.module).__name__} ({_size(block)})"


def _size(block: Block) -> str:
    return f"{sum(parameter.numel() for parameter in block.parameters()):,} numbers"


def svg(chain: Chain) -> str:
    """Return the chain as a picture: a box a block, an arrow for each block that hands something to another."""
    boxes = [("data", f"{len(chain.inputs)} inputs", tuple(chain.inputs))]
    boxes += [(block.name, what(block), tuple(block.outputs)) for block in chain]
    takes: list[tuple[str, ...]] = [(), *(tuple(block.inputs) for block in chain)]
    shapes = {**chain.inputs, **chain.outputs}
    width, height, gap, left, top = 440, 46, 54, 20, 20
    parts = []
    for number, (name, kind, _) in enumerate(boxes):
        y = top + number * (height + gap)
        parts.append(
            f'<rect x="{left}" y="{y}" width="{width}" height="{height}" rx="6" fill="#eef3fb" stroke="#36c"/>'
        )
        parts.append(f'<text x="{left + 12}" y="{y + 19}" font-weight="bold">{escape(name)}</text>')
        parts.append(f'<text x="{left + 12}" y="{y + 36}" font-size="11">{escape(kind)}</text>')
    lane = 0
    for giver, (_, _, gives) in enumerate(boxes):
        for taker in range(giver + 1, len(boxes)):
            handed = [name for name in gives if name in takes[taker]]
            if not handed:
                continue
            label = escape(listed({name: shapes[name] for name in handed}))
            start, end = top + giver * (height + gap) + height, top + taker * (height + gap)
            if taker == giver + 1:
                x = left + 60
                way, place = f"M{x},{start} L{x},{end - 2}", (x + 8, (start + end) / 2 + 4)
            else:
                lane += 1
                x, right = left + width, left + width + 24 * lane
                way = f"M{x},{start - height / 2} H{right} V{end + height / 2} H{x + 2}"
                place = (right + 6, (start + end) / 2 + 4 + 14 * (lane - 1))
            parts.append(f'<path d="{way}" fill="none" stroke="#555" marker-end="url(#arrow)"/>')
            parts.append(f'<text x="{place[0]}" y="{place[1]}" font-size="11">{label}</text>')
    arrow = (
        '<defs><marker id="arrow" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
        '<path d="M0,0 L6,3 L0,6 z" fill="#555"/></marker></defs>'
    )
    total = top + len(boxes) * (height + gap)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 24 * lane + 360} {total}" '
    return head + f'font-family="sans-serif" font-size="13">\n{arrow}\n' + "\n".join(parts) + "\n</svg>\n"
