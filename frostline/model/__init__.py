"""Model: what a study leaves behind, for others to run and to trust.

In go the advised run, its predictions of what it tested, and the prepared images; out comes a folder: weights, ONNX,
what predicting takes, and a card. `frostline.predict` reads that folder and nothing else.

about: what model.json tells
calibration: what a probability of the plan is worth, and which images are doubtful
card: a README in the hub's form, filled from the study
card.md: its template
fitting: the plan trained once more, on all images
forms: the model as ONNX and in 8 bits, each checked before it is kept
network: the network under its library's names, written and read
onnx_export: the network with its scaling inside, and proof that it gives the same
quantization: the same in 8-bit integers, and what that costs
saved: what the folder holds, and how it is read and run
"""
