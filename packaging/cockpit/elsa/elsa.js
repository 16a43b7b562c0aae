/* The page in Cockpit: today's CPU time and jobs, from `elsa-report --format json`. Everything is
 * inserted as text, never as markup. */
"use strict";

const LIMIT_MS = 30000;
const SERIES = 5;
const ROWS = 200;
const JOB_COLUMNS = ["job_id", "name", "kind", "owner", "state", "started_at", "processes", "running",
    "wall_s", "cpu_s", "job_peak_kib", "read_bytes", "write_bytes", "exit_status", "complete"];
const HEADINGS = {
    job_id: "Job", name: "Name", kind: "Kind", owner: "Owner", state: "State", started_at: "Started",
    processes: "Processes", running: "Running", wall_s: "Wall", cpu_s: "CPU", job_peak_kib: "Job peak",
    read_bytes: "Read", write_bytes: "Written", exit_status: "Exit", complete: "Complete",
};
const VIEWS = { today: showToday, jobs: showJobs };

let asked = 0;

function element(name, properties, ...children) {
    const made = document.createElement(name);
    Object.assign(made, properties);
    made.append(...children);
    return made;
}

function drawn(name, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key of Object.keys(attributes))
        made.setAttribute(key, attributes[key]);
    made.append(...children);
    return made;
}

/* Text of others: what could turn a line around or is not seen is spelled out. */
function plain(text) {
    /* What elsa spells out too: all but a blank that is no letter, mark, digit or sign. */
    return String(text).replace(/(?! )[\p{C}\p{Z}]/gu, (letter) => {
        const code = letter.codePointAt(0);
        const [start, digits] = code < 0x100 ? ["\\x", 2] : code < 0x10000 ? ["\\u", 4] : ["\\U", 8];
        return start + code.toString(16).padStart(digits, "0");
    });
}

function duration(seconds) {
    if (Number(seconds.toFixed(2)) < 60)
        return seconds.toFixed(2) + " s";
    const whole = Math.round(seconds);
    const two = (number) => String(number).padStart(2, "0");
    const minutes = Math.floor(whole / 60) % 60;
    const hours = Math.floor(whole / 3600);
    if (hours < 1)
        return `${minutes}m${two(whole % 60)}s`;
    if (hours < 24)
        return `${hours}h${two(minutes)}m${two(whole % 60)}s`;
    return `${Math.floor(hours / 24)}d${two(hours % 24)}h${two(minutes)}m`;
}

function size(bytes) {
    if (bytes < 1024)
        return bytes.toFixed(0) + " B";
    let unit;
    for (unit of ["KiB", "MiB", "GiB", "TiB"]) {
        bytes /= 1024;
        if (bytes < 1024)
            break;
    }
    return `${bytes.toFixed(1)} ${unit}`;
}

/* A time in UTC on the clock of who looks. */
function localTime(text) {
    const time = new Date(text);
    return isNaN(time) ? plain(text) : new Date(time - time.getTimezoneOffset() * 60000)
            .toISOString().slice(0, 19).replace("T", " ");
}

/* What is not known is "-", and never 0. */
function shown(row, column, units) {
    const value = row[column];
    if (value === null || value === undefined)
        return "-";
    if (column === "exit_status")
        return row.exit_signal ? "signal " + row.exit_signal : String(row.exit_code);
    if (column === "complete")
        return value ? "yes" : "no";
    if (column.endsWith("_at"))
        return localTime(value);
    if (typeof value !== "number")
        return plain(value);
    return units[column] === "s" ? duration(value)
        : units[column] === "bytes" ? size(value)
            : units[column] === "KiB" ? size(value * 1024) : String(value);
}

/* A table of texts; columns of figures are aligned to the right. */
function table(caption, headings, rows, numbers) {
    const cell = (text, at) => element("td", { className: numbers[at] ? "number" : at === 1 || at === 0 ? "name" : "" }, text);
    const head = headings.map((text, at) =>
        element("th", { scope: "col", className: numbers[at] ? "number" : "" }, text));
    const box = element("div", { className: "scroll", tabIndex: 0 },
        element("table", {}, element("thead", {}, element("tr", {}, ...head)),
            element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell))))));
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", caption);
    return box;
}

/* What a report is about, how complete it is, its notes, and the command that prints it. */
function about(report, command) {
    const window = report.window || {};
    const from = window.since ? `from ${localTime(window.since)}` : "from the beginning";
    const to = window.until ? `to ${localTime(window.until)}` : "until now";
    const parts = [element("p", {}, `What ended or was used ${from} ${to}.`)];
    if (typeof report.complete === "boolean")
        parts.push(element("p", { className: report.complete ? "complete" : "incomplete" },
            report.complete ? "Complete: both sources reported each process, and nothing is missing."
                : `Not complete, or not certain; gaps in recording that touch it: ${report.gaps || 0}.`));
    const notes = (report.notes || []).map((note) => element("li", {}, plain(note)));
    if (notes.length)
        parts.push(element("ul", { className: "notes" }, ...notes));
    parts.push(element("p", {}, "As a command: ", element("code", {}, plain(command.map(quoted).join(" ")))));
    return parts;
}

/* A word of a command that people copy into a shell: what is spelled out here stands as its bytes. */
function quoted(word) {
    if (/^[\w@%+=:,./-]+$/.test(word))
        return word;
    if (plain(word) === word)
        return "'" + word.replace(/'/g, "'\\''") + "'";
    const byte = (number) => "\\x" + number.toString(16).padStart(2, "0");
    const bytes = (letter) => [...new TextEncoder().encode(letter)].map(byte).join("");
    return "$'" + word.replace(/[^ -~]|[\\']/gu, bytes) + "'";
}

/* A report of elsa, as an administrator where Cockpit may; an error has elsa's line. */
async function report(command) {
    const process = cockpit.spawn([...command, "--format=json"], { superuser: "try", err: "message" });
    const timer = setTimeout(() => process.close("timeout"), LIMIT_MS);
    let printed;
    try {
        printed = await process;
    } catch (error) {
        throw new Error(reason(error));
    } finally {
        clearTimeout(timer);
    }
    try {
        return JSON.parse(printed);
    } catch {
        throw new Error("elsa printed something that is no JSON report.");
    }
}

function reason(error) {
    if (error.problem === "not-found")
        return "elsa-report is not on this host. Install ELSA.";
    if (error.problem === "timeout")
        return `elsa took longer than ${LIMIT_MS / 1000} seconds and was stopped. Choose a shorter window.`;
    const lines = String(error.message || error.problem).trim().split("\n");
    return plain(lines[lines.length - 1].replace(/^elsa-report: /, ""));
}

function windowOf(options, otherwise) {
    const words = [`--since=${options.since || otherwise}`];
    return options.until ? [...words, `--until=${options.until}`] : words;
}

async function showToday(options) {
    const by = ["job", "user", "command"].includes(options.by) ? options.by : "kind";
    const command = ["elsa-report", "timeline", ...windowOf(options, "today"), `--by=${by}`, `--top=${SERIES}`,
        "--step=1h"];
    const found = await report(command);
    const column = by === "job" ? "name" : by;
    const rows = found.rows || [];
    const steps = [...new Set(rows.map((row) => row.since_at))].sort();
    const ranks = new Map();
    for (const row of rows) {
        if (!ranks.has(row.rank))
            ranks.set(row.rank, { name: plain(row[column] ?? "-"), used: new Map() });
        ranks.get(row.rank).used.set(row.since_at, row.cpu_s);
    }
    const series = [...ranks.keys()].sort((one, other) => (one ?? Infinity) - (other ?? Infinity))
            .map((rank) => ranks.get(rank));
    if (!rows.length)
        return [element("p", {}, "Nothing was used in this window."), ...about(found, command)];
    const cells = steps.map((step) => [localTime(step), ...series.map((each) => {
        const used = each.used.get(step);
        return used === null || used === undefined ? "-" : duration(used);
    })]);
    return [element("h2", {}, "CPU time by hour"), chart(steps, series),
        table("CPU time by hour", ["Hour", ...series.map((each) => each.name)], cells, [false, ...series.map(() => true)]),
        ...about(found, command)];
}

/* Stacked bars; the table under it has the figures. */
function chart(steps, series) {
    const most = Math.max(...steps.map((step) => series.reduce((sum, each) => sum + (each.used.get(step) || 0), 0)), 1e-9);
    const width = 1000 / steps.length;
    const bars = [];
    steps.forEach((step, at) => {
        let below = 0;
        series.forEach((each, number) => {
            const height = (each.used.get(step) || 0) / most * 100;
            below += height;
            if (height > 0)
                bars.push(drawn("rect", { class: "s" + (number + 1), x: at * width + width * 0.1, y: 100 - below,
                    width: width * 0.8, height },
                drawn("title", {}, `${localTime(step)} ${each.name}: ${duration(each.used.get(step))}`)));
        });
    });
    const picture = drawn("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img",
        "aria-label": "CPU time by hour, stacked; the table has the figures" }, ...bars);
    const legend = series.map((each, number) => element("li", {},
        drawn("svg", { viewBox: "0 0 1 1", "aria-hidden": "true" }, drawn("rect", { class: "s" + (number + 1), width: 1, height: 1 })),
        each.name));
    return element("figure", {}, picture, element("ul", { className: "legend" }, ...legend));
}

async function showJobs(options) {
    const command = ["elsa-report", "jobs", ...windowOf(options, "7d")];
    for (const name of ["kind", "user"])
        if (options[name])
            command.push(`--${name}=${options[name]}`);
    command.push("--sort=-cpu_s", `--limit=${ROWS}`, "--columns=" + [...JOB_COLUMNS, "exit_code", "exit_signal"].join(","));
    const found = await report(command);
    const rows = found.rows || [];
    const units = found.units || {};
    const numbers = JOB_COLUMNS.map((column) => column in units
        || ["job_id", "processes", "running", "exit_status"].includes(column));
    const cells = rows.map((row) => JOB_COLUMNS.map((column) => shown(row, column, units)));
    return [element("h2", {}, "Jobs, most CPU time first"),
        rows.length ? table("Jobs", JOB_COLUMNS.map((column) => HEADINGS[column]), cells, numbers)
            : element("p", {}, "No job used anything in this window."),
        ...about(found, command)];
}

/* The view that the address names. An answer that comes when another was asked for is dropped. */
async function show() {
    const view = Object.hasOwn(VIEWS, String(cockpit.location.path[0])) ? cockpit.location.path[0] : "today";
    const options = cockpit.location.options;
    const mine = ++asked;
    document.body.className = view;
    for (const name of Object.keys(VIEWS)) {
        const link = document.getElementById("to-" + name);
        name === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    for (const field of document.getElementById("choose").elements)
        if (field.name)
            field.value = options[field.name] || (field.name === "by" ? "kind" : "");
    const [problem, state, place] = ["problem", "state", "shown"].map((id) => document.getElementById(id));
    problem.textContent = "";
    state.textContent = "Asking elsa …";
    place.replaceChildren();
    try {
        const parts = await VIEWS[view](options);
        if (mine === asked)
            place.replaceChildren(...parts);
    } catch (error) {
        if (mine === asked)
            problem.textContent = error.message;
    }
    if (mine === asked)
        state.textContent = "";
}

function choose(event) {
    event.preventDefault();
    const options = {};
    for (const [name, value] of new FormData(event.target))
        if (value.trim() && !(name === "by" && value === "kind"))
            options[name] = value.trim();
    cockpit.location.go([document.body.className], options);
}

/* The scheme that is chosen in Cockpit's menu, or the browser's. */
function colour() {
    const chosen = localStorage.getItem("shell:style") || "auto";
    const dark = chosen === "dark" || (chosen === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.classList.toggle("dark", dark);
}

colour();
window.addEventListener("storage", colour);
window.addEventListener("cockpit-style", colour);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colour);
document.getElementById("choose").addEventListener("submit", choose);
cockpit.addEventListener("locationchanged", show);
show();
