// A user signs in, creates an allocation, calls it, and finds out in the console what happened.

import { execFile } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { checkPage, equal, ok, tour, until } from "./pages.mjs";

const { URL: url, SIP, GREENPIN, CONFIG, TENANT, ACCOUNT_SID, TOKEN, OPERATOR_TOKEN, NUMBER, AGENT, CUSTOMER, SCREENSHOTS, CHROMIUM } = process.env;
const WAIT = 30_000;

rmSync(SCREENSHOTS, { recursive: true, force: true });
mkdirSync(SCREENSHOTS, { recursive: true });
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"] });
const context = await browser.newContext({ viewport: { width: 1360, height: 850 }, colorScheme: "light" });
context.setDefaultTimeout(WAIT);
// For work on the pages: files that the program does not have yet.
const { BUNDLE } = process.env;
if (BUNDLE) {
  await context.route("**/console/assets/**", (route) => route.fulfill({ path: `${BUNDLE}/${route.request().url().split("/").pop()}` }));
  const isPage = (request) => request.resourceType() === "document";
  const page = async (route) => route.fulfill({ response: await route.fetch(), path: `${BUNDLE}/index.html` });
  await context.route("**/console**", (route) => (isPage(route.request()) ? page(route) : route.fallback()));
}
const page = await context.newPage();

// What the browser sees: faults, addresses and answers.
const faults = [];
const seen = [];
const expectedFaults = /status of (401|404)/;
page.on("pageerror", (error) => faults.push(String(error)));
page.on("console", (message) => message.type() === "error" && !expectedFaults.test(message.text()) && faults.push(message.text()));
page.on("request", (request) => seen.push(request.url()));
page.on("response", async (response) => {
  const type = response.headers()["content-type"] ?? "";
  if (/json|event-stream|html/.test(type) && !response.url().endsWith("/stream")) seen.push(await response.text().catch(() => ""));
});

process.once("uncaughtException", async (error) => {
  console.error(error, faults, page.url());
  await page.screenshot({ path: `${SCREENSHOTS}/failure.png`, timeout: 5_000 }).catch(() => {});
  process.exit(1);
});

async function api(path) {
  const credentials = Buffer.from(`${ACCOUNT_SID}:${TOKEN}`).toString("base64");
  const response = await fetch(`${url}/v1/tenants/${TENANT}${path}`, { headers: { authorization: `Basic ${credentials}` } });
  return (await response.json()).response;
}

async function call(pin, expected) {
  const options = ["--from", CUSTOMER, "--pin", pin, "--server", SIP, "--duration", "5", "--expect", expected, "--config", CONFIG];
  await promisify(execFile)(GREENPIN, ["call", NUMBER, ...options], { timeout: WAIT });
}

// A wrong token is refused without a dialog of the browser; the right one opens the address that was asked for.
await page.goto(`${url}/console/allocations?panel=create`);
await checkPage(page, "sign-in", SCREENSHOTS);
await page.getByLabel("Account SID").fill(ACCOUNT_SID);
await page.getByLabel("Token", { exact: false }).last().fill("wrong");
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("alert").waitFor();
await page.getByLabel("Token", { exact: false }).last().fill(TOKEN);
await page.getByRole("button", { name: "Sign in" }).click();

// Create an allocation. Its answer and its page are masked.
await page.getByLabel("From (A-party)").fill(AGENT);
await page.getByLabel("To (B-party)").fill(CUSTOMER);
await page.getByLabel("Custom field").first().fill("order_id=12345");
await page.getByLabel("Record every call").check();
await page.getByRole("button", { name: "Create" }).last().click();
await page.waitForURL(/allocations\/gp_/);
const allocation = page.url().split("/").pop();
const { pin } = await api(`/greenpin/${allocation}`);
await page.getByText("+91 99…17").first().waitFor();

// A wrong PIN, then the right one. The list follows by itself.
await call(pin === "0000" ? "1111" : "0000", "refused");
await page.getByRole("link", { name: "Calls", exact: true }).click();
await page.getByText("caller hung up").first().waitFor();
await call(pin, "connected");
await page.getByRole("row").filter({ hasText: "completed" }).first().waitFor();

// Find the call by the last four digits of the caller.
await page.getByLabel("Search").fill(CUSTOMER.slice(-4));
await page.getByLabel("Search").press("Enter");
await page.waitForURL(/search\?q=3329/);
await page.getByRole("row").filter({ hasText: "completed" }).getByRole("link").first().click();
await page.waitForURL(/calls\/call_/);
const callSid = page.url().split("/").pop();

// Why it ended, its recording, its events.
await page.getByText(/The parties talked for \d+ s/).waitFor();
const waveform = page.getByRole("img", { name: /Waveform/ });
await waveform.waitFor();
equal(await waveform.locator("path").count(), 2, "one outline for each side");
await page.locator("audio").evaluate((audio) => audio.play());
await until("the recording plays", () => page.locator("audio").evaluate((audio) => audio.currentTime > 0.2));
await page.locator("audio").evaluate((audio) => audio.pause());
await page.locator(".events summary").filter({ hasText: "call.completed" }).waitFor();
await page.getByRole("heading", { name: "SIP ladder" }).waitFor();
const [picture] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "PNG" }).click()]);
equal(picture.suggestedFilename(), `${callSid}.png`);
equal((await readFile(await picture.path())).subarray(1, 4).toString(), "PNG");
await page.getByRole("button", { name: "Copy as text" }).waitFor();

// Every page in both themes and two widths, while everything is masked.
await tour(page, url, SCREENSHOTS, [
  ["overview", "/"],
  ["calls", "/calls"],
  ["call", `/calls/${callSid}`],
  ["allocations", "/allocations"],
  ["allocation-create", "/allocations?panel=create"],
  ["allocation-resolve", "/allocations?panel=resolve"],
  ["allocation", `/allocations/${allocation}`],
  ["search", "/search?q=3329"],
  ["numbers", "/numbers"],
  ["webhooks", "/webhooks"],
  ["settings", "/settings"],
  ["developers", "/developers"],
  ["audit", "/audit"],
  ["not-found", "/nothing"],
]);
const text = seen.join("\n");
for (const [name, secret] of [["agent", AGENT], ["customer", CUSTOMER]]) {
  ok(!text.includes(secret.slice(1)), `the number of the ${name} was in the network traffic`);
}
ok(!text.includes(`"${pin}"`) && !text.includes(`,,${pin}`), "the PIN was in the network traffic");

// A reveal shows them, and is an entry of the audit log.
await page.goto(`${url}/console/allocations/${allocation}`);
await page.getByRole("button", { name: "Reveal numbers and PIN" }).click();
await page.getByText(CUSTOMER).first().waitFor();
await page.getByText(pin, { exact: true }).waitFor();
await page.goto(`${url}/console/audit`);
await page.getByText("console.reveal").first().waitFor();

// Change a setting, in a group and alone.
await page.goto(`${url}/console/settings`);
await page.getByLabel("Ring timeout").fill("25");
await page.getByLabel("Retention recordings").fill("30");
await page.getByRole("button", { name: "Save" }).click();
await page.getByText("Saved.").waitFor();
const settings = await api("/settings");
equal(`${settings.ring_timeout} ${settings.retention.recordings}`, "25 30", "the settings are changed");

// Change and delete the allocation.
await page.goto(`${url}/console/allocations/${allocation}`);
await page.getByRole("button", { name: "Delete" }).click();
await page.getByRole("group").getByRole("button", { name: "Delete" }).click();
await page.getByText("deleted", { exact: true }).first().waitFor();
await page.getByRole("button", { name: "Sign out", exact: true }).click();
await page.getByLabel("Account SID").waitFor();

// The operator.
await page.getByLabel("Operator", { exact: true }).check();
await page.getByLabel("Operator token").fill(OPERATOR_TOKEN);
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("link", { name: TENANT }).waitFor();
await tour(page, url, SCREENSHOTS, [
  ["operator-tenants", "/operator/tenants"],
  ["operator-tenant", `/operator/tenants/${TENANT}`],
  ["operator-numbers", "/operator/numbers"],
  ["operator-trunks", "/operator/trunks"],
  ["operator-nodes", "/operator/nodes"],
  ["operator-call", `/operator/calls/${callSid}`],
  ["operator-refused", "/operator/refused"],
  ["operator-audit", "/operator/audit"],
]);
equal(faults.join("\n"), "", "the console of the browser has no error");
await browser.close();
