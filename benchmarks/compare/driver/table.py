"""The table, as text."""
from . import results

WIDTHS = (18, 4, 3, 11, 11, 23, 7, 11, 8, 9, 9, 9, 9, 6, 6, 7, 7)
HEADS = ("workload", "mem", "thr", "engine", "ops/s", "(least - most)", "of best", "ops/CPU-s",
         "p50 us", "p99 us", "p99.9 us", "B wr/op", "B rd/op", "wr.amp", "space", "MiB",
         "of bud.")
LEFT = (0, 1, 3)
RESIDENT_MAX = 1.05  # of the budget; Firn promises it


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def line(columns):
    texts = [text.ljust(width) if index in LEFT else text.rjust(width)
             for index, (text, width) in enumerate(zip(columns, WIDTHS))]
    return " ".join(texts).rstrip()


def row(cell, entry, best):
    head = [cell.workload, cell.memory, str(cell.threads), entry.engine]
    if not entry.rounds:
        status, reason = entry.trouble
        text = "-" if status == "unsupported" else f"failed: {reason}"
        return line(head) + " " * (len(line(HEADS[:4])) - len(line(head))) + "  " + text
    rate = entry.figure("rate")
    spread = f"({number(rate.least)} - {number(rate.most)})" if len(entry.rounds) > 1 else "(once)"
    to_best = entry.ratio_to(best) if best else None
    medians = {name: entry.figure(name).median for name in results.COLUMNS}
    timed = medians["p50_us"] > 0
    writes = any(run["user_bytes"] for run in entry.rounds.values())
    device = any(run["device"] for run in entry.rounds.values())
    over = entry.engine == "firn" and medians["resident_of_budget"] > RESIDENT_MAX
    cut = entry.cut_pairs()
    return line(head + [
        number(rate.median), spread, f"{to_best.median:.2f}" if to_best else "",
        number(medians["rate_of_processor"]),
        *(number(medians[name]) if timed else "" for name in ("p50_us", "p99_us", "p999_us")),
        number(medians["written_each"]) if device else "",
        number(medians["read_each"]) if device else "",
        number(medians["write_amplification"]) if writes and device else "",
        number(medians["space"]), number(medians["memory"] / (1 << 20)),
        f"{100 * medians['memory_of_budget']:.0f} %" + ("!" if over else "")
    ]) + (f"  cut short at {cut:,} pairs" if cut else "")


def limits_text(records):
    """Of the newest run that measured them."""
    lines = []
    newest = {}
    for record in records:
        if record.get("kind") == "limit":
            newest[record["name"]] = record
    for name, record in newest.items():
        if "failed" in record:
            lines.append(f"  {name}: failed: {record['failed']}")
        elif "per_second" in record:
            lines.append(f"  {name}: {number(record['per_second'])}/s, "
                         f"{number(record['bytes_per_second'] / 1e6)} MB/s, "
                         f"p50 {number(record['p50_us'])} us")
        else:
            lines.append(f"  {name}: a dependent load {number(record['dependent_load_ns'])} ns, "
                         f"eight side by side {number(record['overlapped_8_load_ns'])} ns each")
    return ["Device and memory:"] + lines if lines else []


def summary(cells):
    """Firn beside the best peer of each cell, round by round."""
    lines = []
    for cell in cells:
        firn, peers = cell.entries.get("firn"), cell.peers()
        if firn is None or not firn.rounds or not peers:
            continue
        rate = firn.ratio_to(peers[0])
        if rate is None:
            continue
        of_processor = firn.ratio_to(peers[0], "rate_of_processor")
        lines.append(f"  {cell.workload:18} {cell.memory:4} {cell.threads:3}  "
                     f"{rate.median:6.2f} ({rate.least:.2f} - {rate.most:.2f})  per CPU-s "
                     f"{of_processor.median:6.2f}  {peers[0].engine}")
    if lines:
        lines.insert(0, "Firn over the best peer, median of paired rounds (least - most):")
    return lines


def resident_text(cells):
    over = []
    checked = 0
    for cell in cells:
        entry = cell.entries.get("firn")
        if entry is None:
            continue
        for run in entry.rounds.values():
            checked += 1
            if results.COLUMNS["resident_of_budget"](run) > RESIDENT_MAX:
                over.append(f"{cell.workload} {cell.memory} {cell.threads}")
    if checked == 0:
        return []
    if not over:
        return [f"Firn's peak resident memory is within its budget and 5 % in all {checked} runs."]
    return [f"Firn's peak resident memory is above its budget and 5 % in {len(over)} of {checked} "
            f"runs: {', '.join(sorted(set(over)))}"]


def origin_text(records):
    """The machine and the engines, and what a run had to remark."""
    machines = [record for record in records if record.get("kind") == "machine"]
    versions = {record["engine"]: record["version"] for record in records
                if record.get("kind") == "run"}
    notes = {record["text"]: None for record in records if record.get("kind") == "note"}
    lines = ["Engines: " + ", ".join(" ".join(pair) for pair in versions.items())]
    if machines:
        machine = machines[-1]
        lines.append(f"Machine: {machine['processors']} processors, {machine['processor']}, "
                     f"{machine['memory_bytes'] / (1 << 30):.0f} GiB, Linux {machine['kernel']}, "
                     f"load {machine['load_average']:.1f} at the start")
    return lines + list(notes)


def text(records):
    lines = []
    for (pairs, value), cells in results.cells(records).items():
        commit = next(record["commit"] for record in records)
        lines.append(f"{pairs:,} pairs of 16 and {value} bytes, commit {commit}")
        lines.append(line(HEADS))
        last = None
        for cell in cells:
            peers = cell.peers()
            if last is not None and last != (cell.workload, cell.memory, cell.threads):
                lines.append("")
            last = cell.workload, cell.memory, cell.threads
            lines += [row(cell, entry, peers[0] if peers else None) for entry in cell.sorted()]
        lines += ["", *summary(cells), "", *resident_text(cells), ""]
    return "\n".join([*lines, *limits_text(records), *origin_text(records)])
