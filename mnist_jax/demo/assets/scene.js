// The planes drawn by WebGL: one textured rectangle a layer, redrawn only when something has changed.

import {
  BufferAttribute, BufferGeometry, DataTexture, DoubleSide, Group, LinearMipmapLinearFilter, LineBasicMaterial, LineSegments,
  Mesh, MeshBasicMaterial, NearestFilter, PerspectiveCamera, PlaneGeometry, Scene as Space, SRGBColorSpace, WebGLRenderer,
} from "./three/three.module.min.js";
import { FOCAL } from "./view.js";

const MOST_SEGMENTS = 64;

export class Scene {
  isFlat = false;

  // Throws where there is no WebGL.
  constructor(planes) {
    this.renderer = new WebGLRenderer({ alpha: true, antialias: true });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.canvas = this.renderer.domElement;
    this.space = new Space();
    this.group = new Group();
    this.space.add(this.group);
    this.camera = new PerspectiveCamera((2 * Math.atan(1 / FOCAL) * 180) / Math.PI, 1, 1, 3000);
    this.textures = planes.map((plane) => this.#add(plane));
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(new Float32Array(6 * MOST_SEGMENTS), 3));
    this.lines = new LineSegments(geometry, new LineBasicMaterial({ depthTest: false, transparent: true }));
    this.lines.frustumCulled = false;
    this.lines.renderOrder = 1;
    this.group.add(this.lines);
  }

  #add(plane) {
    const texture = new DataTexture(new Uint8Array(plane.pixels.buffer), plane.sheetWidth, plane.sheetHeight);
    texture.colorSpace = SRGBColorSpace;
    texture.magFilter = NearestFilter;
    texture.minFilter = LinearMipmapLinearFilter;
    texture.generateMipmaps = true;
    texture.anisotropy = Math.min(8, this.renderer.capabilities.getMaxAnisotropy());
    const geometry = new PlaneGeometry(plane.sheetWidth * plane.scale, plane.sheetHeight * plane.scale);
    // A sheet's first row is its top.
    const uv = geometry.getAttribute("uv");
    for (let corner = 0; corner < uv.count; corner += 1) uv.setY(corner, 1 - uv.getY(corner));
    const look = { map: texture, transparent: true, depthWrite: false, side: DoubleSide, toneMapped: false };
    const mesh = new Mesh(geometry, new MeshBasicMaterial(look));
    mesh.position.z = plane.z;
    this.group.add(mesh);
    return texture;
  }

  resize(width, height) {
    this.renderer.setSize(width, height);
    this.camera.aspect = width / height;
  }

  // The sheets have other pixels.
  relight() {
    for (const texture of this.textures) texture.needsUpdate = true;
  }

  // Lines are pairs of points.
  draw(view, lines, color) {
    this.group.rotation.x = view.isPortrait ? -Math.PI / 2 : 0;
    this.camera.position.fromArray(view.direction).multiplyScalar(view.distance);
    this.camera.lookAt(0, 0, 0);
    const { width, height, shift } = view;
    this.camera.setViewOffset(width, height, -shift[0], -shift[1], width, height);
    const position = this.lines.geometry.getAttribute("position");
    lines.slice(0, MOST_SEGMENTS).flat().forEach((point, index) => position.setXYZ(index, ...point));
    position.needsUpdate = true;
    this.lines.geometry.setDrawRange(0, 2 * Math.min(lines.length, MOST_SEGMENTS));
    this.lines.material.color.set(color);
    this.renderer.render(this.space, this.camera);
  }

  dispose() {
    this.renderer.dispose();
    this.canvas.remove();
  }
}
