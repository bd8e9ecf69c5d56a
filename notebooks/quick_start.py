# %% [markdown]
# # Quick start
#
# Train a small model of a text, see how it learned, let it write, and measure it. Everything here runs on a laptop,
# without a network, in half a minute.

# %%
import math

import letterloom

# %% [markdown]
# ## Train
#
# `python-docs` is a text that every Python brings along; in its place stands the path of your own: a file, a folder,
# or several. A recipe is a complete set of settings, and each of them can be changed. This model is far smaller than
# the recipe `small` would have it, and stops after 250 steps; leave `model` and `training` away for two minutes of
# training.

# %%
run = letterloom.train(
    "python-docs",
    recipe="small",
    model={"d_model": 64, "n_layers": 2, "context_length": 64},
    training={"max_steps": 250, "eval_interval": 50, "threads": 1, "seed": 1},
)

# %% [markdown]
# The text was read in windows of 64 characters, drawn at random from its first nine tenths. The rest is *held out*:
# the model is measured on it and never learns from it. A run shows what was reached and how:

# %%
run

# %% [markdown]
# **What to see.** The loss is what the model pays for the next character, in nats (left) or bits (right): it fell
# steeply, then slowly, and would go on falling. Blue is measured on each batch just before the model learns from it,
# orange on text held out; where orange turns up and blue goes on down, a model begins to learn its text by heart.
#
# `run.curves()` gives the same picture as a matplotlib figure, to change or to save.

# %% [markdown]
# ## Generate
#
# The model of the best checkpoint. A low temperature stays with what is likely, a high one dares more; equal seeds
# give equal texts.

# %%
model = run.load()
model

# %%
for temperature in (0.5, 1.0):
    print(f"--- temperature {temperature}")
    print(model.generate("The statement ", max_new_tokens=200, temperature=temperature, seed=1))

# %% [markdown]
# ## Evaluate
#
# Each held-out character is scored once. The interval says how far the figure may be off because the held-out text
# is no longer than it is. For comparison: who knows nothing pays log2(V) bits for each of V characters.

# %%
evaluation = model.evaluate()
low, high = (nats / math.log(2) for nats in evaluation.interval)
print(f"{evaluation.bits_per_character:.3f} bits per character, 95 % interval {low:.3f} to {high:.3f}")
print(f"knowing nothing: {math.log2(model.network.vocab_size):.3f}")

# %% [markdown]
# ## Verify
#
# The same weights on the same characters in a second model, written in NumPy alone, which shares no code with the
# first. Computed in 64 bits, the logits agree to rounding: all at once, and one character at a time, as when it
# writes.

# %%
comparison = model.verify()
print(f"largest difference {comparison.difference:.1e}, one at a time {comparison.cached_difference:.1e}")
assert comparison.agrees

# %% [markdown]
# ## Where everything lies
#
# A run is a folder. `report.html` tells all about it; `checkpoints/best` is a folder that can be copied anywhere,
# and `letterloom.load` takes it; `letterloom.resume` goes on where a run was stopped; `run.toml` repeats it. On the
# command line the same is `letterloom train`, `generate`, `evaluate`, `verify` and `resume`.

# %%
for path in sorted(run.path.glob("[!.]*")):
    print(path)
