"""Pictures of a stack behind a slider, the place of each on a picture from above, and a box to find one.

Without scripts a stack is its first picture and the one from above. Nothing is fetched.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from octshard.report.page import Html, escaped


@dataclass(frozen=True)
class Stack:
    """frames: (number, data URI), one of which is shown first; en_face: a data URI, the first number on top.

    total: how many frames there are, drawn or not; aspects: displayed width / height.
    """

    name: str
    facts: str
    frames: Sequence[tuple[int, str]]
    en_face: str
    total: int
    aspects: tuple[float, float]


def slider(stack: Stack) -> Html:
    """The stack, at the frame in its middle."""
    middle = len(stack.frames) // 2
    number, source = stack.frames[middle]
    others = [[n, "" if i == middle else uri] for i, (n, uri) in enumerate(stack.frames)]
    frame_alt, above_alt = (escaped(f"{what} of {stack.name}") for what in ("B-scan", "En face"))
    frame_style, above_style = (f"width:100%;aspect-ratio:{aspect:.4f}" for aspect in stack.aspects)
    # "<" cannot end the script: a data URI has none
    return Html(
        f'<div class="stack"><h3>{escaped(stack.name)}</h3><p>{escaped(stack.facts)}</p><div class="row">'
        f'<figure class="frame"><img alt="{frame_alt}" style="{frame_style}" src="{source}">'
        f"<figcaption>B-scan <output>{number + 1}</output> of {stack.total}</figcaption></figure>"
        f'<figure><div class="above"><img alt="{above_alt}" style="{above_style}" src="{stack.en_face}">'
        f"<i></i></div><figcaption>En face, the first B-scan on top</figcaption></figure></div>"
        f'<script type="application/json">{json.dumps([stack.total, others])}</script></div>'
    )


STYLE = """
.stack { border-top: 1px solid var(--line); margin-top: 1rem; } .stack[hidden] { display: none; }
.stack .frame { flex: 2 1 24rem; } 
.stack input[hidden] { display: none; } .stack input { width: 100%; margin: .5rem 0 0; }
.search.of-stacks { position: sticky; top: 0; z-index: 1; background: #fff; padding: .4rem 0; }
.above { position: relative; cursor: crosshair; }
.above i { position: absolute; left: 0; right: 0; top: -2px; border-top: 2px solid #ffd23f; }
"""

# a click on the picture from above goes to the nearest B-scan that is drawn; every word must stand in it
SCRIPT = r"""
const stacks = [...document.querySelectorAll(".stack")];
for (const stack of stacks) {
  const [total, frames] = JSON.parse(stack.querySelector("script").textContent);
  const frame = stack.querySelector(".frame img"), above = stack.querySelector(".above");
  const field = document.createElement("input"), middle = frames.findIndex(([, source]) => !source);
  frames[middle][1] = frame.src;
  const show = () => {
    const [number, source] = frames[field.value];
    frame.src = source;
    stack.querySelector("output").value = number + 1;
    field.setAttribute("aria-valuetext", `B-scan ${number + 1} of ${total}`);
    above.querySelector("i").style.top = `calc(${100 * (number + 0.5) / total}% - 1px)`;
  };
  Object.assign(field, {type: "range", min: 0, max: frames.length - 1, value: middle});
  field.hidden = frames.length < 2;
  field.setAttribute("aria-label", "B-scan");
  field.addEventListener("input", show);
  above.addEventListener("click", event => {
    const box = above.getBoundingClientRect(), at = (event.clientY - box.top) / box.height * total - 0.5;
    const far = frames.map(([number]) => Math.abs(number - at));
    field.value = far.indexOf(Math.min(...far));
    show();
  });
  frame.after(field);
  show();
}
if (stacks.length > 1) {
  const label = document.createElement("label"), box = document.createElement("input");
  const count = document.createElement("output");
  label.className = "search of-stacks";
  box.type = "search";
  label.append("Search key, flag, device or eye", box, count);
  const find = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(word => word);
    for (const stack of stacks) {
      const text = [...stack.querySelectorAll("h3, p")].map(part => part.textContent).join(" ").toLowerCase();
      stack.hidden = !words.every(word => text.includes(word));
    }
    count.value = `${stacks.filter(stack => !stack.hidden).length} of ${stacks.length} volumes`;
  };
  box.addEventListener("input", find);
  stacks[0].before(label);
  find();
}
"""
