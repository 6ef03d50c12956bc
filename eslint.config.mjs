// What JavaScript here must keep to. Layout is Prettier's; types are tsc's.

import js from "@eslint/js";
import globals from "globals";
import { defineConfig, globalIgnores } from "eslint/config";

export default defineConfig([
  globalIgnores([
    "**/.*/",
    "build/",
    "dist/",
    "docs/_build/",
    "types/",
    "turbo/static/turbo/turbo.js",
    "turbo/static/turbo/*.min.js",
  ]),
  {
    extends: [js.configs.recommended],
    rules: {
      eqeqeq: "error",
      "no-shadow": ["error", { builtinGlobals: false }],
      "no-unused-private-class-members": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
    },
  },
  {
    files: ["turbo/**/static/**", "sample_chat/**"],
    languageOptions: { globals: globals.browser },
  },
  {
    files: ["tests/**", "bundle/**", "*.mjs"],
    languageOptions: { globals: globals.nodeBuiltin },
  },
  {
    files: ["**/*.cjs", "benchmarks/**"],
    languageOptions: { sourceType: "commonjs", globals: globals.node },
  },
]);
