// Bundles what the report needs of uPlot and three.js into the folder given, or this one.
import { build } from "esbuild";
import { copyFile, mkdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.resolve(process.argv[2] ?? here);
await mkdir(out, { recursive: true });
for (const name of ["uplot", "three"]) {
  await build({
    absWorkingDir: here,
    stdin: { contents: entry(name), resolveDir: here },
    bundle: true,
    minify: true,
    format: "iife",
    globalName: name,
    charset: "ascii",
    target: "es2021",
    legalComments: "none", // LICENSES has them
    outfile: path.join(out, `${name}.min.js`),
  });
}
await copyFile(path.join(here, "node_modules/uplot/dist/uPlot.min.css"), path.join(out, "uplot.min.css"));

function entry(name) {
  if (name === "uplot") return `export { default as Plot } from "uplot";`;
  const used = [
    "BoxGeometry", "BufferAttribute", "BufferGeometry", "CanvasTexture", "CircleGeometry", "Color", "CylinderGeometry",
    "DirectionalLight", "DoubleSide", "Group", "HemisphereLight", "Line", "LineBasicMaterial", "LineSegments", "Mesh",
    "MeshBasicMaterial", "MeshLambertMaterial", "PerspectiveCamera", "RingGeometry", "Scene", "SphereGeometry", "Sprite",
    "SpriteMaterial", "Vector3", "WebGLRenderer",
  ];
  return `export { ${used.join(", ")} } from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";`;
}
