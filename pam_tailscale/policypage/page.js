
"use strict";
(() => {
  // Every text comes from the policy or the tailnet: it is only ever set as text, never as markup.
  const data = JSON.parse(document.getElementById("data").textContent);
  const SHOWN_MAX = { rows: 100, rules: 1000, people: 1000, nodes: 1000 };  // more would only make the page slow
  const NAMES_FIRST = 6;

  const byId = (id) => document.getElementById(id);
  // Characters that cannot be seen or that turn the direction of text are written out.
  const shown = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = shown(text);
    if (kind) made.className = kind;
    return made;
  };

  // Sets come as runs: first position, length, first position, ...
  const members = (runs) => {
    const found = [];
    for (let run = 0; run < runs.length; run += 2) {
      for (let step = 0; step < runs[run + 1]; step++) found.push(runs[run] + step);
    }
    return found;
  };
  const whos = data.whos.map(members);
  const wheres = data.wheres.map(members);
  const sources = data.sources.map((name, position) => ({ name, position, lower: name.toLowerCase() }));
  const nodes = data.nodes.map(([name, tags, owner], position) => (
    { name, tags, owner, position, lower: `${name} ${tags}`.toLowerCase() }));
  const rules = data.rules.map(([number, line, action, period, src, dst, users]) => (
    { number, line, action, period, src, dst, users, lower: [...src, ...dst, ...users].join(" ").toLowerCase() }));
  const rows = data.rows.map(([who, where, own, names, any, ownName, rule]) => (
    { who, where, own, names, any, ownName, rule: rules[rule] }));
  const owned = new Map();
  for (const node of nodes) {
    if (node.owner < 0) continue;
    if (!owned.has(node.owner)) owned.set(node.owner, []);
    owned.get(node.owner).push(node.position);
  }
  let chosen = null;

  const period = (seconds) => {
    if (seconds === 0) return "check at each login";
    for (const [size, unit] of [[3600, "h"], [60, "min"]]) {
      if (seconds % size === 0) return `check, good for ${seconds / size} ${unit}`;
    }
    return `check, good for ${seconds} s`;
  };
  const action = (rule) => (rule.action === "check" ? period(rule.period) : "accept");

  // What the filters leave.

  const localpart = (login) => login.slice(0, Math.max(login.lastIndexOf("@"), 0));
  const wanted = () => {
    const text = (id) => byId(id).value.trim().toLowerCase();
    const matching = (list, part) => (part ? new Set(list.filter((one) => one.lower.includes(part)).map((one) => one.position)) : null);
    return {
      who: matching(sources, text("who")),
      where: matching(nodes, text("where")),
      account: byId("account").value.trim(),
      action: byId("action").value,
      search: text("search"),
      sources: matching(sources, text("search")),
      nodes: matching(nodes, text("search")),
    };
  };
  const some = (set, list) => set === null || list.some((position) => set.has(position));

  const fitsWhere = (row, who, where) => {
    if (where === null) return true;
    if (row.own && who.some((source) => (owned.get(source) ?? []).some((node) => where.has(node)))) return true;
    // Among others' devices a person's own are not theirs to log in on.
    return wheres[row.where].some((node) => where.has(node) && who.some((source) => nodes[node].owner !== source));
  };
  const fitsAccount = (row, who, account) => (
    !account || row.names.includes(account) || (row.any && account !== "root")
    || (row.ownName && who.some((source) => localpart(sources[source].name) === account)));
  const fitsSearch = (row, want) => {
    if (!want.search) return true;
    return some(want.sources, whos[row.who]) || fitsWhere(row, whos[row.who], want.nodes)
      || row.names.some((name) => name.toLowerCase().includes(want.search)) || row.rule.lower.includes(want.search);
  };
  const fits = (row, want) => {
    if (want.action && row.rule.action !== want.action) return false;
    const who = want.who === null ? whos[row.who] : whos[row.who].filter((source) => want.who.has(source));
    return who.length > 0 && fitsWhere(row, who, want.where) && fitsAccount(row, who, want.account) && fitsSearch(row, want);
  };

  // What is shown.

  const drawn = {};
  const fill = (id, list, draw) => {
    // A row also shows what was asked for; the lists are left alone where they would be the same.
    const before = drawn[id];
    drawn[id] = { list, chosen };
    if (id !== "rows" && before?.chosen === chosen && before.list.length === list.length
      && before.list.every((one, position) => one === list[position])) return;
    const add = (start) => {
      const parts = document.createDocumentFragment();
      const end = start + SHOWN_MAX[id];
      for (const one of list.slice(start, end)) parts.append(draw(one));
      byId(id).append(parts);
      const more = byId(`${id}-more`);
      more.hidden = end >= list.length;
      more.textContent = `${list.length - end} more`;
      more.onclick = () => add(end);
    };
    byId(id).replaceChildren();
    byId(`${id}-count`).textContent = String(list.length);
    add(0);
  };
  const names = (list) => {
    const cell = element("td");
    const append = (some) => some.forEach((name) => cell.append(element("bdi", name)));
    append(list.slice(0, NAMES_FIRST));
    if (list.length > NAMES_FIRST) {
      const more = element("button", `and ${list.length - NAMES_FIRST} more`, "more");
      more.type = "button";
      more.addEventListener("click", () => { more.remove(); append(list.slice(NAMES_FIRST)); });
      cell.append(more);
    }
    return cell;
  };
  const first = (set, list, name) => {
    // Whoever was asked for stands where one sees them.
    const found = set === null ? [] : list.filter((position) => set.has(position));
    const rest = set === null ? list : list.filter((position) => !set.has(position));
    return [...found, ...rest].map(name);
  };
  const drawRow = (want) => (row) => {
    const line = element("tr");
    if (row.rule === chosen) line.className = "granted";
    line.dataset.rule = row.rule.number;
    line.append(names(first(want.who ?? want.sources, whos[row.who], (source) => sources[source].name)));
    const where = names(first(want.where ?? want.nodes, wheres[row.where], (node) => nodes[node].name));
    if (row.own) where.prepend(element("i", "their own devices "));
    line.append(where);
    const accounts = element("td");
    for (const name of row.names) accounts.append(element("bdi", name, name === "root" ? "root" : ""));
    if (row.any) accounts.append(element("i", "any but root "));
    if (row.ownName) accounts.append(element("i", "their own name"));
    line.append(accounts, element("td", action(row.rule)), element("td", `${row.rule.number}, line ${row.rule.line}`));
    return line;
  };
  const drawRule = (rule) => {
    const item = element("li");
    const button = element("button", undefined, "rule");
    button.type = "button";
    button.dataset.rule = rule.number;
    button.setAttribute("aria-pressed", String(rule === chosen));
    // Each name between a first strong isolate and its pop: none turns the direction of what is beside it.
    const [src, dst, users] = [rule.src, rule.dst, rule.users].map(
      (list) => list.map((name) => `\u2068${shown(name)}\u2069`).join(", "));
    button.textContent = `${rule.number} ${action(rule)}: ${src} → ${dst} as ${users}`;
    button.addEventListener("click", () => { chosen = rule === chosen ? null : rule; show(); });
    item.append(button);
    return item;
  };
  const drawName = (granted) => (one) => element("li", one.name, granted.has(one.position) ? "granted" : "");

  const granted = () => {
    const found = { who: new Set(), where: new Set(), rows: 0 };
    for (const row of chosen === null ? [] : rows.filter((one) => one.rule === chosen)) {
      found.rows += 1;
      for (const source of whos[row.who]) {
        found.who.add(source);
        if (row.own) (owned.get(source) ?? []).forEach((node) => found.where.add(node));
      }
      wheres[row.where].forEach((node) => found.where.add(node));
    }
    return found;
  };
  const show = () => {
    const want = wanted();
    const grants = granted();
    const top = (list, set) => [...list.filter((one) => set.has(one.position)), ...list.filter((one) => !set.has(one.position))];
    const left = rows.filter((row) => fits(row, want));
    fill("rows", [...left.filter((row) => row.rule === chosen), ...left.filter((row) => row.rule !== chosen)], drawRow(want));
    const narrowed = want.who || want.where || want.account || want.action || want.search;
    const used = new Set(left.map((row) => row.rule));
    fill("rules", narrowed ? rules.filter((rule) => used.has(rule)) : rules, drawRule);
    // What is searched for may be a name of nobody, but of an account or a group: that leaves the lists as they are.
    const listed = (list, named, found) => list.filter((one) => (
      named === null ? !found?.size || found.has(one.position) : named.has(one.position)));
    fill("people", top(listed(sources, want.who, want.sources), grants.who), drawName(grants.who));
    fill("nodes", top(listed(nodes, want.where, want.nodes), grants.where), drawName(grants.where));
    byId("granted").textContent = chosen === null ? "" : grants.rows
      ? `Rule ${chosen.number} lets ${grants.who.size} people or tags in on ${grants.where.size} nodes.`
      : `Rule ${chosen.number} lets nobody in: others decide before it, or it is about nobody.`;
  };

  byId("about").textContent = shown(`${data.file}: ${data.people} people, ${data.known_nodes} nodes, ${rules.length} rules. `
    + "An account's own row counts before any but root. Click a rule to see what it grants.");
  byId("filters").addEventListener("input", show);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(show));
  show();
  document.body.dataset.ready = "yes";
})();
