// Says of each webhook, one JSON object a line, whether the Standard Webhooks library for JavaScript takes it.
const { createRequire } = require("node:module");
const { createInterface } = require("node:readline");
const { Webhook } = createRequire(`${process.argv[2]}/`)("standardwebhooks");

createInterface({ input: process.stdin }).on("line", (line) => {
  const { secret, headers, body } = JSON.parse(line);
  let taken = true;
  try {
    new Webhook(secret).verify(body, headers);
  } catch {
    taken = false;
  }
  console.log(taken);
});
