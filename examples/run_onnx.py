"""Runs an .onnx file of `moga-st export` with numpy, onnxruntime and pillow alone: no torch, no moga_st.
Clips are what pillow opens (GIF, WebP, TIFF), and are resized to what the model takes.

python run_onnx.py model.onnx clip.gif     # a video model: writes clip_predicted.gif
python run_onnx.py model.onnx photo.png    # a classifier: prints its five best classes
python run_onnx.py model.onnx person.npz   # a lifter, its inputs by name: writes person_3d.npy
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageSequence

if len(sys.argv) != 3:
    sys.exit(__doc__)
model, file = onnxruntime.InferenceSession(sys.argv[1]), Path(sys.argv[2])
first = model.get_inputs()[0]
if first.name == "keypoints_px":
    poses = model.run(None, {key: array.astype(np.float32) for key, array in np.load(file).items()})[0]
    np.save(file.with_name(f"{file.stem}_3d.npy"), np.asarray(poses))
else:
    height, width, channels = first.shape[-3:]
    pages = ImageSequence.Iterator(Image.open(file))
    frames = [page.convert("L" if channels == 1 else "RGB").resize((width, height)) for page in pages]
    pixels = np.stack([np.asarray(frame).reshape(height, width, channels) for frame in frames])
    given = pixels[None, : first.shape[1]] if first.name == "frames" else pixels[:1]
    out = np.asarray(model.run(None, {first.name: given})[0])[0]
    if first.name == "frames":
        future = [Image.fromarray(frame.squeeze()) for frame in out]
        future[0].save(file.with_name(f"{file.stem}_predicted.gif"), save_all=True, append_images=future[1:])
    else:
        names = json.loads(model.get_modelmeta().custom_metadata_map["moga_st"])["facts"].get(
            "classes", range(len(out))
        )
        print(*(f"{names[i]} {out[i]:.4f}" for i in np.argsort(-out)[:5]), sep="\n")
