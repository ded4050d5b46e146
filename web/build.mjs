// Builds the page: `node build.mjs OUT` bundles src/main.ts into OUT and puts what is not code beside it.
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
if (out === undefined) throw new Error("usage: node build.mjs OUT");

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  banner: { js: "/*! With @bufbuild/protobuf (Apache-2.0, BSD-3-Clause), @connectrpc/connect and connect-web (Apache-2.0). */" },
  bundle: true,
  entryPoints: { page: "src/main.ts" },
  format: "esm",
  logLevel: "warning",
  minify: true,
  outdir: out,
  target: "es2022",
});
const style = { absWorkingDir: here, bundle: true, entryPoints: { page: "page.css" }, logLevel: "warning", minify: true };
await build({ ...style, outdir: out });
for (const name of ["index.html", "icon.svg", "configuration.json"]) await copyFile(join(here, name), join(out, name));
