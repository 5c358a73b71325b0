"use strict";
(() => {
  const evidence = JSON.parse(document.getElementById("evidence").textContent);

  /* A line of the table `metrics` as an object by column name. */
  function readLine(values) {
    const line = {};
    evidence.columns.forEach((name, at) => {
      const value = values[at];
      line[name] = evidence.is_text[at] && value !== null ? evidence.texts[value] : value;
    });
    return line;
  }

  /* Text goes into the page as text alone, never as markup. */
  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function formatNumber(value) {
    if (value === null || value === undefined) return "\u2013";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value) && Math.abs(value) >= 10) return String(value);
    return Math.abs(value) < 10 ? value.toFixed(3) : value.toPrecision(4);
  }

  /* At most three digits, and no trailing zeros; a text such as "inf" as it is. */
  function formatPlain(value) {
    return typeof value === "number" ? String(Number(value.toPrecision(3))) : String(value);
  }

  function formatRange(low, high) {
    return low === null ? "\u2013" : `[${formatNumber(low)}, ${formatNumber(high)}]`;
  }

  function makeTable(header, rows) {
    const scroll = make("div", null, "scroll");
    scroll.tabIndex = 0;
    const table = scroll.appendChild(make("table"));
    const head = table.appendChild(make("thead")).appendChild(make("tr"));
    header.forEach((name, at) => {
      const isNumber = rows.length > 0 && rows[0][at][1] === "number";
      head.appendChild(make("th", name, isNumber ? "number" : "text")).scope = "col";
    });
    const body = table.appendChild(make("tbody"));
    for (const cells of rows) {
      const row = body.appendChild(make("tr"));
      for (const [text, className] of cells) row.appendChild(make("td", text, className));
    }
    return scroll;
  }

  function makeList(entries) {
    const list = make("dl");
    for (const [name, value] of entries) {
      if (value === null || value === undefined || value === "") continue;
      list.appendChild(make("dt", name));
      list.appendChild(make("dd")).appendChild(make("code", value));
    }
    return list;
  }

  function lineCells(line) {
    const missed = line.missed_share === null ? "\u2013" : `${(100 * line.missed_share).toFixed(1)} %`;
    const probed = line.probed === null ? "\u2013" : `${line.probed} of ${line.of}`;
    let value = formatNumber(line.value);
    if (line.high !== null && line.high !== line.low) value += `\u2013${formatNumber(line.high)}`;
    return [
      [line.evaluation, "text"],
      [line.metric || "\u2013", "text"],
      [value, "number"],
      [formatRange(line.interval_low, line.interval_high), "number"],
      [line.verdict || line.status, line.verdict || line.status],
      [missed, "number"],
      [probed, "number"],
      [line.reason || "", "text"],
    ];
  }

  function flatten(value, name, entries) {
    if (value !== null && typeof value === "object") {
      for (const key of Object.keys(value)) flatten(value[key], name ? `${name}.${key}` : key, entries);
    } else {
      entries.push([name, value === null ? null : String(value)]);
    }
    return entries;
  }

  function makeFolded(title, content) {
    const folded = make("details");
    folded.appendChild(make("summary", title));
    for (const element of content) folded.appendChild(element);
    return folded;
  }

  function makeChecks(lines) {
    const parts = [];
    for (const id of new Set(lines.map((line) => line.result))) {
      const checks = id === null ? undefined : evidence.checks[id];
      if (checks === undefined) continue;
      const line = lines.find((each) => each.result === id);
      parts.push(make("p", `${line.evaluation}:`));
      parts.push(makeTable(
        ["check", "status", "value", "limit", "samples", "of what"],
        checks.map(([name, grade, value, limit, samples, text]) => [
          [evidence.texts[name], "text"], [evidence.texts[grade], evidence.texts[grade]],
          [formatPlain(value), "number"], [formatPlain(limit), "number"],
          [String(samples), "number"], [evidence.texts[text], "text"],
        ]),
      ));
    }
    return parts;
  }

  function makeTrial(lines) {
    const first = lines[0];
    const section = make("section");
    const training = first.replicate === null ? "" : `training ${first.replicate}, `;
    section.appendChild(make("h4", `Trial: ${training}seed ${first.seed}`));
    if (first.unlearned) section.appendChild(make("p", `Did not learn: ${first.unlearned}`, "failed"));
    section.appendChild(makeTable(
      ["evaluation", "metric", "value", "95 % interval", "verdict", "missed", "attacked by the host", "reason"],
      lines.map(lineCells),
    ));
    const checks = makeChecks(lines);
    if (checks.length) section.appendChild(makeFolded("Checks", checks));
    const ids = [["trial", first.trial], ["fit", first.fit]];
    const shown = new Set();
    for (const line of lines) {
      if (line.result && !shown.has(line.result)) ids.push([`result ${line.evaluation}`, line.result]);
      shown.add(line.result);
      for (const id of (line.batteries || "").split(" ")) {
        if (id && !shown.has(id)) ids.push(["battery", id]);
        shown.add(id);
      }
    }
    section.appendChild(makeFolded("Ids", [makeList(ids)]));
    const environments = [];
    for (const digest of new Set(lines.map((line) => line.environment))) {
      if (digest === null) continue;
      const line = lines.find((each) => each.environment === digest);
      const entries = [["digest", digest], ["device", line.device], ["threads", line.threads], ["precision", line.precision]];
      environments.push(makeList(flatten(evidence.environments[digest] || {}, "", entries)));
    }
    if (environments.length) section.appendChild(makeFolded("Environment", environments));
    return section;
  }

  function makePanel(key) {
    const panel = make("div", null, "panel");
    const trials = new Map();
    for (const line of evidence.rows[key].map(readLine)) {
      if (!trials.has(line.trial)) trials.set(line.trial, []);
      trials.get(line.trial).push(line);
    }
    for (const lines of trials.values()) panel.appendChild(makeTrial(lines));
    return panel;
  }

  function toggleEvidence(button) {
    const row = button.closest("tr");
    const next = row.nextElementSibling;
    const isOpen = button.getAttribute("aria-expanded") === "true";
    if (isOpen) {
      next.remove();
    } else {
      const panelRow = make("tr", null, "evidence");
      const cell = panelRow.appendChild(make("td"));
      cell.colSpan = row.cells.length;
      cell.appendChild(makePanel(button.dataset.row));
      row.after(panelRow);
    }
    button.setAttribute("aria-expanded", String(!isOpen));
    button.textContent = isOpen ? "+" : "\u2212";
  }

  /* A row and the evidence that is open under it move and hide together. */
  function rowGroups(table) {
    const groups = [];
    for (const row of table.tBodies[0].rows) {
      if (row.classList.contains("evidence")) groups[groups.length - 1].push(row);
      else groups.push([row]);
    }
    return groups;
  }

  function compareValues(first, second, isNumber) {
    return isNumber ? Number(first) - Number(second) : first.localeCompare(second, "en");
  }

  function sortTable(head) {
    const table = head.closest("table");
    const column = head.cellIndex;
    const isNumber = head.classList.contains("number");
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) {
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    }
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const groups = rowGroups(table);
    const valueOf = (group) => group[0].cells[column].dataset.value || "";
    groups.sort((first, second) => {
      const values = [valueOf(first), valueOf(second)];
      /* Cells without a value come last in either direction. */
      if (values[0] === "" || values[1] === "") return (values[0] === "") - (values[1] === "");
      const order = compareValues(values[0], values[1], isNumber);
      return ascending ? order : -order;
    });
    for (const group of groups) table.tBodies[0].append(...group);
  }

  function filterTable(input) {
    const table = document.getElementById(input.getAttribute("aria-controls"));
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const groups = rowGroups(table);
    let shown = 0;
    for (const group of groups) {
      const text = group[0].textContent.toLowerCase();
      const isShown = words.every((word) => text.includes(word));
      for (const row of group) row.hidden = !isShown;
      shown += isShown;
    }
    const count = shown === groups.length ? `${shown} rows` : `${shown} of ${groups.length} rows`;
    input.closest(".tools").querySelector("output").textContent = count;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    if (button.classList.contains("sort")) sortTable(button.closest("th"));
    if (button.classList.contains("open")) toggleEvidence(button);
  });
  document.addEventListener("input", (event) => {
    if (event.target.matches("input[type=search]")) filterTable(event.target);
  });
})();
