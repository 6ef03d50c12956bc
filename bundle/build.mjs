// Bundles and minifies modules, each with a source map beside it.
//
//   node build.mjs <folder of the modules> <folder to write to> turbo.js observers.js …
//
// esbuild joins the modules; terser makes of its result what browsers get in fewer
// bytes.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { build } from "esbuild";
import { minify } from "terser";

const [folder, destination, ...entries] = process.argv.slice(2);

// The oldest that has what the modules are written in, private fields above all:
// replacements for those would take more bytes than all the rest saves.
const ES2022 = { esbuild: "es2022", terser: 2022 };

/** @param {string} entry */
async function bundle(entry) {
  const { outputFiles } = await build({
    absWorkingDir: folder,
    entryPoints: [entry],
    outdir: folder,
    entryNames: "[name].min",
    write: false,
    bundle: true,
    minify: true,
    format: "esm",
    target: ES2022.esbuild,
    sourcemap: "external",
    legalComments: "inline",
    logLevel: "warning",
  });
  const [map, script] = ["map", "js"].map(
    (kind) => outputFiles.find(({ path }) => path.endsWith(`.${kind}`)).text,
  );
  const name = entry.replace(/\.js$/, ".min.js");
  const result = await minify(script, {
    module: true,
    // To read a property has no effect here; in Turbo it may have one.
    compress: { ecma: ES2022.terser, passes: 3, pure_getters: entry !== "turbo.js" },
    format: { ecma: ES2022.terser, comments: "some" }, // those that name a licence
    sourceMap: {
      content: map,
      filename: name,
      includeSources: true,
      url: `${name}.map`,
    },
  });
  await writeFile(join(destination, name), `${result.code}\n`);
  await writeFile(join(destination, `${name}.map`), result.map);
}

await Promise.all(entries.map(bundle));
