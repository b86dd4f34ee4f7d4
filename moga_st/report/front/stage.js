// People in 3D, by three.js: bodies, floor, paths, standing feet. Metres, z up. It draws when something changes.
"use strict";

const SIDES = ["trunk", "left", "right"]; // colours; left joints are balls, right joints are cubes
const BONE = 0.022, JOINT = 0.036;

/** A small picture of a word that always faces the reader. */
const word = (text, colour, size = 0.09) => {
  const canvas = moga.el("canvas", { width: 256, height: 64 }), pen = canvas.getContext("2d");
  pen.font = "bold 44px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineWidth = 8;
  pen.strokeStyle = moga.colour("card");
  pen.strokeText(text, 128, 34, 250);
  pen.fillStyle = colour;
  pen.fillText(text, 128, 34, 250);
  const sprite = new three.Sprite(new three.SpriteMaterial({ map: new three.CanvasTexture(canvas), depthTest: false, transparent: true }));
  sprite.scale.set(size * 4, size, 1);
  sprite.renderOrder = 2;
  return sprite;
};

/** Builds a body whose joints and bones can be placed; `thin` is for the truth. */
const bodyOf = (section, thin) => {
  const group = new three.Group();
  const side = (j) => (section.left.includes(j) ? 1 : section.right.includes(j) ? 2 : 0);
  const materials = SIDES.map((name) => new three.MeshLambertMaterial({ color: new three.Color(moga.colour(thin ? "ghost" : name)), transparent: true, opacity: thin ? 0.75 : 1 }));
  const scale = thin ? 0.4 : 1;
  const rod = new three.CylinderGeometry(BONE * scale, BONE * scale, 1, 12);
  rod.rotateX(Math.PI / 2); // along z, so that lookAt points it
  const bones = section.bones.map(([a, b]) => ({ a, b, mesh: new three.Mesh(rod, materials[side(b)]) }));
  const ball = new three.SphereGeometry(JOINT * scale, 16, 12), cube = new three.BoxGeometry(...Array(3).fill(JOINT * 1.7 * scale));
  const joints = section.joints.map((_, j) => new three.Mesh(side(j) === 2 ? cube : ball, materials[side(j)]));
  group.add(...bones.map((bone) => bone.mesh), ...joints);
  const points = section.joints.map(() => new three.Vector3());
  const place = (values, offset, opacity) => {
    points.forEach((p, j) => { p.fromArray(values.subarray(offset + 3 * j, offset + 3 * j + 3)).multiplyScalar(0.001); });
    joints.forEach((mesh, j) => mesh.position.copy(points[j]));
    bones.forEach(({ a, b, mesh }) => {
      mesh.position.copy(points[a]).add(points[b]).multiplyScalar(0.5);
      mesh.scale.z = Math.max(1e-4, points[a].distanceTo(points[b]));
      mesh.lookAt(points[b]);
    });
    materials.forEach((material) => { material.opacity = opacity; });
  };
  return { group, place, points };
};

/** All that is drawn of one person. */
const actorOf = (section, person, floor) => {
  const group = new three.Group();
  const poses = moga.array(person.poses), truth = person.truth ? moga.array(person.truth) : null;
  const contacts = person.contacts ? moga.array(person.contacts) : null, invented = person.invented ? moga.array(person.invented) : null;
  const count = poses.shape[0], stride = 3 * section.joints.length;
  const body = bodyOf(section, false), ghost = truth ? bodyOf(section, true) : null;
  const tags = [["L", "left", ["LWrist", "LFoot"]], ["R", "right", ["RWrist", "RFoot"]]].flatMap(([text, colour, joints]) =>
    joints.map((name) => ({ joint: section.joints.indexOf(name), sprite: word(text, moga.colour(colour)) })));
  const name = section.many ? word(person.name, moga.colour("ink"), 0.14) : null;
  const rings = contacts ? ["LFoot", "RFoot"].map((foot) => {
    const ring = new three.Mesh(new three.RingGeometry(0.075, 0.11, 28), new three.MeshBasicMaterial({ color: new three.Color(moga.colour("good")), side: three.DoubleSide }));
    group.add(ring);
    return { ring, joint: section.joints.indexOf(foot) };
  }) : [];
  const path = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) path.set([poses[i * stride] / 1000, poses[i * stride + 1] / 1000, floor + 0.004], 3 * i);
  const travelled = Math.hypot(path[0] - path[3 * count - 3], path[1] - path[3 * count - 2]) > 0.05;
  const geometry = new three.BufferGeometry();
  geometry.setAttribute("position", new three.BufferAttribute(path, 3));
  const line = new three.Line(geometry, new three.LineBasicMaterial({ color: new three.Color(moga.colour("accent")) }));
  if (travelled) group.add(line);
  group.add(body.group, ...(ghost ? [ghost.group] : []), ...tags.map((t) => t.sprite), ...(name ? [name] : []));
  return {
    group, count, start: person.start, points: body.points,
    isInvented: (k) => Boolean(invented?.[k]),
    stands: (k) => ["left", "right"].filter((_, f) => contacts?.[2 * k + f]),
    show: (i, seen) => {
      const k = i - person.start;
      group.visible = k >= 0 && k < count;
      if (!group.visible) return;
      body.place(poses, k * stride, invented?.[k] ? 0.3 : 1);
      ghost?.place(truth, k * stride, 0.75);
      if (ghost) ghost.group.visible = seen.truth;
      tags.forEach(({ joint, sprite }) => { sprite.visible = seen.letters; sprite.position.copy(body.points[joint]).z += 0.085; });
      name?.position.copy(body.points[section.joints.indexOf("Head")]).setZ(body.points[section.joints.indexOf("Head")].z + 0.2);
      rings.forEach(({ ring, joint }, f) => {
        ring.visible = Boolean(contacts[2 * k + f]);
        ring.position.set(body.points[joint].x, body.points[joint].y, floor + 0.006);
      });
      line.visible = seen.path;
    },
    bounds: () => {
      const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
      poses.forEach((v, i) => { low[i % 3] = Math.min(low[i % 3], v / 1000); high[i % 3] = Math.max(high[i % 3], v / 1000); });
      return { low, high };
    },
    lowest: () => { // under all but a fiftieth of the frames, so that one bad frame does not sink the floor
      const lows = Array.from({ length: count }, (_, k) => {
        let low = Infinity;
        for (let j = 0; j < section.joints.length; j++) low = Math.min(low, poses[k * stride + 3 * j + 2] / 1000);
        return low;
      }).sort((a, b) => a - b);
      return lows[Math.floor(0.02 * (count - 1))];
    },
  };
};

const floorOf = (low, high, z) => {
  const [x0, y0, x1, y1] = [Math.floor(low[0] - 0.5), Math.floor(low[1] - 0.5), Math.ceil(high[0] + 0.5), Math.ceil(high[1] + 0.5)];
  const points = [], step = Math.max(x1 - x0, y1 - y0) > 30 ? 5 : 0.5;
  for (let x = x0; x <= x1 + 1e-6; x += step) points.push(x, y0, z, x, y1, z);
  for (let y = y0; y <= y1 + 1e-6; y += step) points.push(x0, y, z, x1, y, z);
  const geometry = new three.BufferGeometry();
  geometry.setAttribute("position", new three.BufferAttribute(new Float32Array(points), 3));
  return new three.LineSegments(geometry, new three.LineBasicMaterial({ color: new three.Color(moga.colour("floor")) }));
};

/** A stage on a canvas. Throws where the browser gives no WebGL. */
moga.stageOn = (canvas, section) => {
  const renderer = new three.WebGLRenderer({ canvas, antialias: true, alpha: true });
  const camera = new three.PerspectiveCamera(40, 1, 0.05, 500);
  camera.up.set(0, 0, 1);
  canvas.addEventListener("wheel", (event) => { // the page scrolls; only who has clicked into the stage zooms
    if (document.activeElement !== canvas && !event.ctrlKey) event.stopImmediatePropagation();
  }, { capture: true });
  const controls = new three.OrbitControls(camera, canvas);
  controls.enableDamping = false;
  const self = { camera, controls, seen: { truth: true, letters: true, path: true }, follow: false, actors: [] };
  let scene = new three.Scene(), now = 0, middle = new three.Vector3(), reach = 1, pending = 0;
  const before = new three.Vector3();

  const render = () => {
    pending ||= requestAnimationFrame(() => { pending = 0; self.paint(); });
  };
  self.paint = () => renderer.render(scene, camera);
  controls.addEventListener("change", render);

  const dispose = () => scene.traverse((o) => { o.geometry?.dispose(); o.material?.map?.dispose(); o.material?.dispose?.(); });
  self.load = (stage) => {
    dispose();
    scene = new three.Scene();
    scene.add(new three.HemisphereLight(0xffffff, 0x99a4b0, 3.0));
    const sun = new three.DirectionalLight(0xffffff, 2.0);
    sun.position.set(-2, -4, 6);
    scene.add(sun);
    const many = { ...section, many: stage.people.length > 1 };
    const drafts = stage.people.map((person) => actorOf(many, person, 0));
    const floor = stage.space === "world" ? 0 : Math.min(...drafts.map((a) => a.lowest()));
    self.actors = floor === 0 ? drafts : stage.people.map((person) => actorOf(many, person, floor));
    const boxes = self.actors.map((a) => a.bounds());
    const low = [0, 1, 2].map((c) => Math.min(...boxes.map((b) => b.low[c]))), high = [0, 1, 2].map((c) => Math.max(...boxes.map((b) => b.high[c])));
    scene.add(floorOf(low, high, floor), ...self.actors.map((a) => a.group));
    middle.set((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (Math.min(low[2], floor) + high[2]) / 2);
    reach = Math.max(0.9, Math.hypot(high[0] - low[0], high[1] - low[1], high[2] - floor) / 2);
    if (reach > 3.2) { middle.copy(self.actors[0].points[0]).setZ((low[2] + high[2]) / 2); reach = 1.6; self.follow = true; }
    before.set(0, 0, 0);
    self.view("front");
  };
  self.view = (name) => {
    const from = { front: [0.25, -1, 0.28], side: [1, -0.12, 0.2], back: [-0.25, 1, 0.28], top: [0, -0.02, 1] }[name];
    const at = self.follow && self.actors[0]?.group.visible ? self.actors[0].points[0] : middle;
    controls.target.copy(at);
    camera.position.set(...from).normalize().multiplyScalar(reach / Math.sin(20 * Math.PI / 180) * 0.84).add(at);
    before.copy(at);
    controls.update();
    render();
  };
  self.turn = (azimuth, height) => {
    const arm = camera.position.clone().sub(controls.target), length = arm.length();
    const angle = Math.atan2(arm.y, arm.x) + azimuth;
    const up = Math.max(-1.4, Math.min(1.5, Math.asin(arm.z / length) + height));
    camera.position.set(Math.cos(angle) * Math.cos(up), Math.sin(angle) * Math.cos(up), Math.sin(up)).multiplyScalar(length).add(controls.target);
    controls.update();
    render();
  };
  self.zoom = (factor) => { camera.position.sub(controls.target).multiplyScalar(factor).add(controls.target); controls.update(); render(); };
  self.show = (i) => {
    now = i;
    self.actors.forEach((actor) => actor.show(i, self.seen));
    const first = self.actors.find((a) => a.group.visible);
    if (self.follow && first) {
      const at = first.points[0].clone().setZ(controls.target.z), moved = at.clone().sub(controls.target);
      controls.target.add(moved);
      camera.position.add(moved);
      controls.update();
    }
    render();
  };
  self.again = () => self.show(now);
  self.size = (width, height) => {
    renderer.setPixelRatio(Math.min(2, devicePixelRatio));
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    render();
  };
  self.end = () => { cancelAnimationFrame(pending); dispose(); controls.dispose(); renderer.dispose(); };
  return self;
};
