// Checks of a page: accessibility, width, and screenshots.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WAIT = 30_000;
const LOOKS = [
  [1360, "light"],
  [1360, "dark"],
  [360, "light"],
  [360, "dark"],
];

export function ok(condition, message) {
  if (!condition) throw new Error(message);
}

export function equal(found, expected, message) {
  ok(found === expected, `${message}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
}

/** Waits until a condition holds. */
export async function until(message, condition) {
  const deadline = Date.now() + WAIT;
  while (!(await condition())) {
    ok(Date.now() < deadline, `not seen: ${message}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** Checks one page in each look: nothing is wider than the window, axe finds nothing. Takes a screenshot of each. */
export async function checkPage(page, name, folder) {
  for (const [width, theme] of LOOKS) {
    await page.emulateMedia({ colorScheme: theme });
    await page.setViewportSize({ width, height: 850 });
    await page.locator("h1").first().waitFor();
    await until(`${name} is loaded`, async () => (await page.locator(".loading").count()) === 0);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    ok(overflow <= 0, `${name} is ${overflow} px wider than ${width} px`);
    await page.screenshot({ path: `${folder}/${name}-${width}-${theme}.png`, fullPage: true });
    if ((width === 360) === (theme === "dark")) await accessible(page, `${name} at ${width} px, ${theme}`);
  }
  await page.setViewportSize({ width: 1360, height: 850 });
  await page.emulateMedia({ colorScheme: "light" });
}

async function accessible(page, name) {
  // Not a script of the page: the debugger evaluates it, so that the policy of the page stays as it is.
  const violations = await page.evaluate(`${AXE}; axe.run(document, { resultTypes: ["violations"] }).then((result) =>
    result.violations.map((violation) => violation.id + ": " + violation.nodes.map((node) => node.html + " " + node.failureSummary).join("; ")))`);
  equal(violations.join("\n"), "", `axe finds nothing on ${name}`);
}

/** Opens each page of the console and checks it. */
export async function tour(page, url, folder, pages) {
  for (const [name, path] of pages) {
    await page.goto(`${url}/console${path === "/" ? "" : path}`);
    await checkPage(page, name, folder);
  }
}
