"""The report of a run, in Markdown: medians, and ratios within a round with their spread."""

import os
import platform
import statistics


def markdown(figures, names):
    lines = [f"{os.cpu_count()} processors, {platform.system()} {platform.release()}; load average at the end {os.getloadavg()[0]:.1f}.", ""]
    others = [name for name in names if name != "millstream"] if "millstream" in names else []
    head = ["part", "what", "unit", *names, *(f"÷ {other}" for other in others)]
    lines += [row(head), row(["---"] * len(head))]
    for part, what, unit in dict.fromkeys((it["part"], it["what"], it["unit"]) for it in figures):
        by_system = {name: values(figures, part, what, name) for name in names}
        cells = [number(statistics.median(by_system[name].values())) if by_system[name] else "" for name in names]
        cells += [ratio(by_system["millstream"], by_system[other]) for other in others]
        lines.append(row([part, what, unit, *cells]))
    return "\n".join(lines) + "\n"


def values(figures, part, what, system):
    """By round."""
    chosen = (it for it in figures if (it["part"], it["what"], it["system"]) == (part, what, system))
    return {it["round"]: it["value"] for it in chosen}


def ratio(ours, theirs):
    """Median (least-greatest) of the ratio within a round."""
    pairs = [ours[at] / theirs[at] for at in ours if theirs.get(at, 0) > 0 and ours[at] >= 0]
    if not pairs:
        return ""
    return f"{number(statistics.median(pairs))} ({number(min(pairs))}-{number(max(pairs))})"


def number(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def row(cells):
    return "| " + " | ".join(cells) + " |"
