// People in 3D, by three.js: bodies, floor, paths, standing feet. Metres, z up. It draws when something changes.
"use strict";

const SIDES = ["trunk", "left", "right"]; // colours; left joints are balls, right joints are cubes
const BONE = 0.022, JOINT = 0.036;

/** A small picture of a word that always faces the reader, and is as large however far it is. */
const word = (text, colour, size = 0.028) => {
  const canvas = moga.el("canvas", { width: 256, height: 64 }), pen = canvas.getContext("2d");
  pen.font = "bold 44px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineWidth = 8;
  pen.strokeStyle = moga.colour("card");
  pen.strokeText(text, 128, 34, 250);
  pen.fillStyle = colour;
  pen.fillText(text, 128, 34, 250);
  const sprite = new three.Sprite(new three.SpriteMaterial({ map: new three.CanvasTexture(canvas), depthTest: false, transparent: true, sizeAttenuation: false }));
  sprite.scale.set(size * 4, size, 1);
  sprite.renderOrder = 2;
  return sprite;
};

/** Builds a body whose joints and bones can be placed; `thin` is for the truth, which is seen through what is around it. */
const bodyOf = (section, thin) => {
  const group = new three.Group();
  const side = (j) => (section.left.includes(j) ? 1 : section.right.includes(j) ? 2 : 0);
  const materials = SIDES.map((name) => new three.MeshLambertMaterial({ color: new three.Color(moga.colour(thin ? "ghost" : name)), transparent: true, opacity: thin ? 0.75 : 1, depthTest: !thin }));
  const scale = thin ? 0.4 : 1;
  const rod = new three.CylinderGeometry(BONE * scale, BONE * scale, 1, 12);
  rod.rotateX(Math.PI / 2); // along z, so that lookAt points it
  const bones = section.bones.map(([a, b]) => ({ a, b, mesh: new three.Mesh(rod, materials[side(b)]) }));
  const ball = new three.SphereGeometry(JOINT * scale, 16, 12), cube = new three.BoxGeometry(...Array(3).fill(JOINT * 1.7 * scale));
  const joints = section.joints.map((_, j) => new three.Mesh(side(j) === 2 ? cube : ball, materials[side(j)]));
  group.add(...bones.map((bone) => bone.mesh), ...joints);
  if (thin) group.traverse((mesh) => { mesh.renderOrder = 1; });
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
  const name = section.many ? word(person.name, moga.colour("ink"), 0.036) : null;
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
    hip: (k) => new three.Vector3(poses[k * stride] / 1000, poses[k * stride + 1] / 1000, poses[k * stride + 2] / 1000),
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
    bounds: () => { // of all frames; and how far joints get from the hip, seen from above
      const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
      let around = 0;
      poses.forEach((v, i) => {
        low[i % 3] = Math.min(low[i % 3], v / 1000);
        high[i % 3] = Math.max(high[i % 3], v / 1000);
        if (i % 3 < 2) around = Math.max(around, Math.abs(v - poses[i - (i % stride) + (i % 3)]) / 1000);
      });
      return { low, high, around };
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

/** The corners of a box. */
const cornersOf = ({ low, high }) => Array.from({ length: 8 }, (_, i) => new three.Vector3(...[0, 1, 2].map((c) => (i >> c & 1 ? high : low)[c])));

/** How far from `at` a viewer in the direction `back` must be to see all of some points. */
const distanceOf = (points, at, back, camera) => {
  const right = new three.Vector3(0, 0, 1).cross(back).normalize(), up = back.clone().cross(right);
  const tall = Math.tan(camera.fov / 2 * Math.PI / 180), wide = tall * camera.aspect;
  return Math.max(0.5, ...points.map((point) => {
    const arm = point.clone().sub(at);
    return arm.dot(back) + Math.max(Math.abs(arm.dot(right)) / wide, Math.abs(arm.dot(up)) / tall);
  }));
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
  let scene = new three.Scene(), now = 0, middle = new three.Vector3(), box = null, around = 1, pending = 0;

  const hipsAt = (i) => self.actors.filter((a) => i >= a.start && i < a.start + a.count).map((a) => a.hip(i - a.start).setZ(middle.z));
  /** The middle of those who are there in a frame; null if nobody is. */
  const centreAt = (i) => {
    const hips = hipsAt(i);
    return hips.length ? hips.reduce((sum, hip) => sum.add(hip), new three.Vector3()).divideScalar(hips.length) : null;
  };
  /** How far from that middle they get, in three of four frames. */
  const reachOf = (frames) => {
    const centres = Array.from({ length: frames }, (_, i) => centreAt(i));
    const reaches = centres.flatMap((centre, i) => (centre ? [Math.max(...hipsAt(i).map((hip) => hip.distanceTo(centre)))] : []));
    return reaches.sort((a, b) => a - b)[Math.floor(0.75 * (reaches.length - 1))];
  };

  const render = () => {
    pending ||= requestAnimationFrame(() => { pending = 0; self.paint(); });
  };
  self.paint = () => renderer.render(scene, camera);
  controls.addEventListener("change", render);

  const dispose = () => scene.traverse((o) => { o.geometry?.dispose(); o.material?.map?.dispose(); o.material?.dispose?.(); });
  /** Show a stage, from the front, or as it was seen before where only colours have changed. */
  self.load = (stage, keep = false) => {
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
    if (keep) return render();
    middle.set((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (Math.min(low[2], floor) + high[2]) / 2);
    const room = many.many ? 0.4 : 0.12; // above the heads, for names
    box = { low: [low[0] - 0.1, low[1] - 0.1, Math.min(low[2], floor) - 0.05], high: [high[0] + 0.1, high[1] + 0.1, high[2] + room] };
    around = reachOf(stage.frames) + Math.max(...boxes.map((b) => b.around));
    self.follow = Math.hypot(high[0] - low[0], high[1] - low[1]) > 6.4; // too wide to see anyone in it
    self.view("front");
  };
  self.view = (name) => {
    const back = new three.Vector3(...{ front: [0.25, -1, 0.28], side: [1, -0.12, 0.2], back: [-0.25, 1, 0.28], top: [0, -0.02, 1] }[name]).normalize();
    const near = self.follow ? centreAt(now) : null, at = near ?? middle;
    const rim = [[around, 0], [-around, 0], [0, around], [0, -around]];
    const seen = near ? rim.flatMap(([x, y]) => [box.low[2], box.high[2]].map((z) => new three.Vector3(at.x + x, at.y + y, z))) : cornersOf(box);
    controls.target.copy(at);
    camera.position.copy(back).multiplyScalar(distanceOf(seen, at, back, camera)).add(at);
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
    const at = self.follow ? centreAt(i)?.setZ(controls.target.z) : null;
    if (at) {
      camera.position.add(at).sub(controls.target);
      controls.target.copy(at);
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
