// Builds the bundle: one script, one style sheet, the page and the icon. The same sources give the same octets.
//
//   node build.mjs FOLDER [--watch]

import { context } from "esbuild";
import { copyFileSync, mkdirSync } from "node:fs";

const [folder, watch] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
for (const name of ["index.html", "icon.svg"]) copyFileSync(`src/${name}`, `${folder}/${name}`);
const build = await context({
  entryPoints: { app: "src/main.tsx" },
  outdir: folder,
  bundle: true,
  minify: true,
  charset: "utf8",
  target: ["es2022"],
  format: "esm",
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"' },
  legalComments: "eof",
  logLevel: "warning",
});
await build.rebuild();
if (watch) await build.watch();
else await build.dispose();
