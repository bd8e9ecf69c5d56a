# %% [markdown]
# # Attention, from a mean to a model
#
# A transformer is built here in small steps. Each step is written in NumPy and held against PyTorch, and both have
# to agree in float64 before the next step begins. The NumPy side is Letterloom's *reference*: a few hundred lines
# that share nothing with the fast model and judge it. The PyTorch side is the model that Letterloom trains. At the
# end one is trained, in some seconds, and you see where its heads look.
#
# | letter | counts | name |
# |---|---|---|
# | B | texts computed at once | batch |
# | T | characters in each | time |
# | D | numbers that describe a character | model width |
# | H | heads | |
# | K | numbers of a character that one head sees, D / H | head width |
# | V | different characters | vocabulary |
#
# `(B, T, D)` is the shape of an array: for each text and each time, D numbers. You need matrix products and some
# Python.

# %%
import inspect
import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import Markdown
from matplotlib.axes import Axes
from torch import nn

import letterloom
from letterloom.config import ModelConfig
from letterloom.model import transformer
from letterloom.reference import attention, blocks, layers, model
from letterloom.reference.options import Options, parameter_shapes

torch.set_default_dtype(torch.float64)  # 16 digits, so that any larger difference is a mistake and not rounding
torch.set_grad_enabled(False)
rng = np.random.default_rng(0)


def check(what: str, ours: np.ndarray, theirs: np.ndarray | torch.Tensor) -> None:
    """Print the largest difference, and stop where it is more than rounding."""
    difference = np.abs(ours - np.asarray(theirs)).max()
    print(f"{what}: largest difference {difference:.1e}")
    assert difference < 1e-12


def source(function: Callable[..., object]) -> Markdown:
    """The code of a function of the reference, to read."""
    return Markdown(f"```python\n{inspect.getsource(function)}```")


# %% [markdown]
# ## 1. Characters become vectors
#
# Each of the V characters has a number, its *id*, and a row of D numbers, its *embedding*. To embed a text is to
# look up rows, or, which is the same, to multiply one-hot vectors by the table. The rows are drawn at random here,
# as they are before training.

# %%
text = "to be or not to be"
characters = sorted(set(text))
ids = np.array([[characters.index(character) for character in text]])  # (B, T)
B, T, V, D = 1, len(text), len(characters), 32
table = rng.normal(size=(V, D))

x = layers.embedding(ids, table)  # (B, T, D)
check("embedding", x, F.embedding(torch.from_numpy(ids), torch.from_numpy(table)))
check("embedding as a product", x, np.eye(V)[ids] @ table)
print("ids", ids.shape, "table", table.shape, "x", x.shape)

# %% [markdown]
# ## 2. The simplest way to look back: a mean
#
# To guess the character after time t, the model may use all characters up to t. How do they become one vector of D
# numbers? By their mean. A loop shows what is meant; a product with a triangular matrix of weights does it at once.
# The same matrix comes out of a softmax of zeros, where the future has been given the score -inf.
#
# **Attention is this: a weighted mean of what came so far.** All that follows is about where the weights come from.

# %%
means = np.array([x[0, : t + 1].mean(axis=0) for t in range(T)])  # (T, D)

weights = np.tril(np.ones((T, T))) / np.arange(1, T + 1)[:, None]  # row t: 1/(t+1) for each time up to t
check("mean as a product", means, weights @ x[0])

future = np.triu(np.ones((T, T), dtype=bool), 1)
check("mean as a softmax", weights, layers.softmax(np.where(future, -np.inf, 0.0)))

# %% [markdown]
# ## 3. Weights that depend on the content: query, key, value
#
# Of each character three vectors of K numbers are made, by three matrices that are learned:
#
# - the **query** q: what this place looks for,
# - the **key** k: what this place can be found by,
# - the **value** v: what it gives to those who find it.
#
# How well the key at s fits the query at t is their product, q_t . k_s / sqrt(K). A softmax over s makes weights of
# these scores: positive, with sum 1. The output at t is the mean of the values under these weights (Vaswani et al.
# 2017, section 3.2). First with loops, as the sentences say it; then in three lines, as the reference has it.

# %%
K = 8
q, k, v = (layers.linear(x, rng.normal(size=(K, D)) / math.sqrt(D)) for _ in range(3))  # (B, T, K) each

by_loops = np.zeros((B, T, K))
for t in range(T):
    scores = np.array([q[0, t] @ k[0, s] / math.sqrt(K) for s in range(t + 1)])  # of the past and of itself
    shares = np.exp(scores) / np.exp(scores).sum()
    by_loops[0, t] = sum(shares[s] * v[0, s] for s in range(t + 1))

check("reference, loops", attention.attention(q, k, v), by_loops)
q_torch, k_torch, v_torch = (torch.from_numpy(part) for part in (q, k, v))
check(
    "reference, PyTorch",
    attention.attention(q, k, v),
    F.scaled_dot_product_attention(q_torch, k_torch, v_torch, is_causal=True),
)

# %%
source(attention.causal_scores)

# %%
source(attention.attention)


# %%
def draw(axes: Axes, values: np.ndarray, text: str, title: str, colours: str = "Blues") -> None:
    """A map (T, T) with the characters of a text along both sides; the future is grey."""
    hidden = np.triu(np.ones(values.shape, dtype=bool), 1)
    largest = np.abs(values[~hidden]).max()
    shown = np.ma.masked_array(values, hidden)
    axes.imshow(shown, cmap=colours, vmin=0 if colours == "Blues" else -largest, vmax=largest)
    axes.set_facecolor("0.88")
    labels = text.replace(" ", "␣").replace("\n", "⏎")
    axes.set_xticks(range(len(text)), labels, fontsize=6)
    axes.set_yticks(range(len(text)), labels, fontsize=6)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_title(title, fontsize=9)


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
draw(left, attention.causal_scores(q, k)[0], text, "scores q . k / sqrt(K)", "RdBu_r")
draw(right, attention.attention_weights(q, k)[0], text, "weights: each row sums to 1")
plt.show()

# %% [markdown]
# **What to see.** Row t is the character that asks, column s the one that is asked. Left the scores, both signs;
# right the weights. The grey triangle is the future, which no row may see. The first row has one choice and gives it
# all its weight; each further row has one more. The matrices are random, so there is no sense in the pattern: equal
# characters get equal scores, and nothing tells one *t* from another.
#
# ## 4. Why the mask
#
# In training the model answers T questions at once: at each time t it is to guess the character at t + 1. That
# character is an input too, at time t + 1. Without the mask the answer lies on the table; the loss would fall to
# zero, and the model would be lost when it has to write, where there is no future to look at.
#
# The test: change the last character. With the mask no earlier output may move; without it all of them do.

# %%
changed = x.copy()
changed[:, -1] = rng.normal(size=D)
projections = rng.normal(size=(3, K, D)) / math.sqrt(D)


def attend(x: np.ndarray, masked: bool) -> np.ndarray:
    """(B, T, D) -> (B, T, K), with the mask or without."""
    q, k, v = (layers.linear(x, matrix) for matrix in projections)
    if masked:
        return attention.attention(q, k, v)
    return layers.softmax(q @ k.swapaxes(-1, -2) / math.sqrt(K)) @ v


check("masked, before the change", attend(x, True)[:, :-1], attend(changed, True)[:, :-1])
moved = np.abs(attend(x, False) - attend(changed, False))[:, :-1].max(axis=-1)
print(f"without the mask every earlier output moved, by {moved.min():.1e} or more")
assert moved.min() > 1e-3

# %% [markdown]
# ## 5. Why 1 / sqrt(K)
#
# A score is a sum of K products. If queries and keys have entries of variance 1, its variance is K: the wider the
# head, the larger the scores. A softmax of large scores is nearly one-hot: all weight on one place, and no gradient,
# since the largest stays the largest under a small change. Dividing by sqrt(K) keeps the variance at 1 for every
# width.
#
# Measured over T = 64 places: the *entropy* of the weights, from 0 (all on one) to ln 64 = 4.16 nats (all equal),
# and 1 - sum p^2, the trace of the softmax's Jacobian: what it lets through to the scores when it learns.

# %%
widths = 2 ** np.arange(2, 11)  # K from 4 to 1,024
entropies, passed = np.zeros((2, len(widths))), np.zeros((2, len(widths)))
for i, width in enumerate(widths):
    queries, keys = rng.normal(size=(2, 64, width))
    products = queries @ keys.T  # 64 x 64 scores
    assert abs(products.std() / math.sqrt(width) - 1) < 0.2
    for row, scores in enumerate((products / math.sqrt(width), products)):
        p = layers.softmax(scores)
        entropies[row, i] = -(p * np.log(p + 1e-300)).sum(axis=-1).mean()
        passed[row, i] = 1 - (p**2).sum(axis=-1).mean()

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for row, label in enumerate(("divided by sqrt(K)", "as they are")):
    left.semilogx(widths, entropies[row], "o-", base=2, label=label)
    right.semilogx(widths, passed[row], "o-", base=2, label=label)
left.axhline(math.log(64), color="0.6", linestyle=":", label="ln 64: all equal")
left.set(title="entropy of the weights", xlabel="head width K", ylabel="nats", ylim=(0, 4.4))
right.set(title="what passes to the scores: 1 - sum p²", xlabel="head width K", ylim=(0, 1.05))
left.legend()
right.legend()
plt.show()

print("entropy in nats, K = 4 and K = 1,024:")
print(f"  divided by sqrt(K) {entropies[0, 0]:.2f} and {entropies[0, -1]:.2f}")
print(f"  as they are        {entropies[1, 0]:.2f} and {entropies[1, -1]:.2f}")
assert abs(entropies[0] - (math.log(64) - 0.5)).max() < 0.2  # ln T - 1/2 for many normal scores of variance 1
assert entropies[1, -1] < 0.4

# %% [markdown]
# **What to see.** Divided, the curve stays flat near ln 64 - 1/2, whatever the width. As they are, the scores grow
# with the width: at K = 1,024 a query has all but chosen one place before anything was learned, and little passes
# back.
#
# ## 6. Several heads
#
# One row of weights is one mean. A head that has to look at the character before *and* at the beginning of the word
# can only mix the two. So the D channels are cut into H slices of K = D / H; each slice attends for itself, and a
# last matrix mixes what the heads found. This costs no more: H heads of width K make as many products as one of
# width D.

# %%
H = 4
K = D // H
w_qkv, w_out = rng.normal(size=(3 * D, D)) / math.sqrt(D), rng.normal(size=(D, D)) / math.sqrt(D)

q, k, v = np.split(layers.linear(x, w_qkv), 3, axis=-1)  # (B, T, D) each
slices = [slice(h * K, (h + 1) * K) for h in range(H)]
found = [attention.attention(q[..., part], k[..., part], v[..., part]) for part in slices]  # H times (B, T, K)
by_slices = layers.linear(np.concatenate(found, axis=-1), w_out)  # (B, T, D)

options = Options(vocab_size=V, context_length=64, d_model=D, n_layers=1, n_heads=H, positions="none")
parameters = {"attention.qkv.weight": w_qkv, "attention.out.weight": w_out}
ours = blocks.self_attention(parameters, "attention", x, options)
check("reference, slices", ours, by_slices)

theirs = nn.MultiheadAttention(D, H, bias=False, batch_first=True)
theirs.in_proj_weight.copy_(torch.from_numpy(w_qkv))
theirs.out_proj.weight.copy_(torch.from_numpy(w_out))
x_torch = torch.from_numpy(x)
out, maps = theirs(x_torch, x_torch, x_torch, attn_mask=torch.from_numpy(future), average_attn_weights=False)
check("reference, nn.MultiheadAttention", ours, out)
q_heads, k_heads = attention.split_heads(q, H), attention.split_heads(k, H)  # (B, H, T, K) each
check("weights of each head", attention.attention_weights(q_heads, k_heads), maps)

config = ModelConfig(d_model=D, n_heads=H, n_layers=1, positions="none")
fast = transformer.Attention(config)
fast.qkv.weight.copy_(torch.from_numpy(w_qkv))
fast.out.weight.copy_(torch.from_numpy(w_out))
check("reference, Letterloom's Attention", ours, fast(x_torch, transformer.NoPositions(), 0, None))

# %%
source(blocks.self_attention)

# %% [markdown]
# ## 7. Positions
#
# Nothing so far knows *where* a character stands. Without a mask, to shuffle the characters is to shuffle the
# outputs in the same way: attention is equivariant under permutations. With the mask, the last output is the same in
# whatever order the characters before it come. A model of one layer cannot tell `listen:` from `silent:`.
#
# (A second masked layer can, since its inputs have seen different pasts.)

# %%
order = rng.permutation(T)
check("shuffled without a mask", attend(x[:, order], False), attend(x, False)[:, order])
order[order == T - 1], order[-1] = order[-1], T - 1  # the last stays the last
check("last output, the others shuffled", attend(x[:, order], True)[:, -1], attend(x, True)[:, -1])

letters = sorted(set("listen:"))
anagrams = np.array([[letters.index(letter) for letter in word] for word in ("listen:", "silent:")])  # (2, 7)
for n_layers in (1, 2):
    options = Options(len(letters), context_length=7, d_model=D, n_layers=n_layers, n_heads=H, positions="none")
    parameters = {name: rng.normal(size=shape) / 4 for name, shape in parameter_shapes(options).items()}
    one, other = model.forward(parameters, anagrams, options)[:, -1]  # (V) each
    print(f"layers: {n_layers}, logits after listen: and silent: differ by {np.abs(one - other).max():.1e}")
    assert (np.abs(one - other).max() < 1e-12) == (n_layers == 1)

# %% [markdown]
# So positions have to be put in. The three usual ways:
#
# | | where it enters | what is learned | what a score can depend on |
# |---|---|---|---|
# | learned | added to the embedding | a row of D numbers for each time | both times, in any way |
# | sinusoidal | added to the embedding | nothing | both times; distance is easy to read |
# | rotary | turns queries and keys in each head | nothing | distance alone |
#
# **Learned** is a second table, looked up by time (Radford et al. 2019). Times beyond the table do not exist.
#
# **Sinusoidal** (Vaswani et al. 2017, section 3.5) is a row of D / 2 clock hands. Hand i turns by 10000^(-2i/D) each
# time step, the first fast, the last hardly at all; its sine and cosine are two channels. The product of two
# positions is the sum of cos(distance * speed) over the hands: it knows the distance and nothing else.

# %%
config = ModelConfig(d_model=D, n_heads=H, context_length=64)
rows = rng.normal(size=(64, D))
learned = transformer.LearnedPositions(config)
learned.weight.copy_(torch.from_numpy(rows))
check("learned", x + rows[:T], learned(x_torch, 0))

times = np.arange(64)
hands = np.exp(1j * times[:, None] * 10_000.0 ** (-np.arange(0, D, 2) / D))  # (64, D / 2) points on the circle
sinusoidal = layers.sinusoidal_positions(64, D)  # (64, D)
check("sinusoidal, clock hands", sinusoidal, np.stack([hands.imag, hands.real], axis=-1).reshape(64, D))
check("sinusoidal, Letterloom", sinusoidal, transformer.SinusoidalPositions(config).table)
check("product of two positions", sinusoidal @ sinusoidal.T, (hands @ hands.conj().T).real)
check("the same, one time later", (sinusoidal @ sinusoidal.T)[1:, 1:], (sinusoidal @ sinusoidal.T)[:-1, :-1])

# %% [markdown]
# **Rotary** (Su et al. 2021, section 3.4) takes the K channels of a query or a key as K / 2 points in the plane,
# channel i with channel i + K / 2, and turns point i by t * 10000^(-2i/K). In complex numbers that is one product.
# Where a turned query meets a turned key, only the difference of the two angles is left: the score depends on
# content and distance.


# %%
def turned(x: np.ndarray) -> np.ndarray:
    """(..., T, K) -> (..., T, K), by complex numbers."""
    time, half = x.shape[-2], x.shape[-1] // 2
    points = x[..., :half] + 1j * x[..., half:]
    points = points * np.exp(1j * np.arange(time)[:, None] * 10_000.0 ** (-np.arange(half) / half))
    return np.concatenate([points.real, points.imag], axis=-1)


check("rotary, complex numbers", attention.rotary(q_heads), turned(q_heads))
rotary = transformer.Rotary(config)
by_time = torch.from_numpy(q_heads).transpose(1, 2)  # (B, T, H, K), as the model has them when it turns them
check("rotary, Letterloom", attention.rotary(q_heads), rotary(by_time, 0).transpose(1, 2))

query, key = (np.tile(rng.normal(size=K), (64, 1)) for _ in range(2))  # the same content at all of 64 times
scores = attention.rotary(query) @ attention.rotary(key).T
check("rotary scores, one time later", scores[1:, 1:], scores[:-1, :-1])

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
left.imshow(sinusoidal, cmap="RdBu_r", aspect="auto")
left.set(title="sinusoidal positions", xlabel="channel", ylabel="time")
middle.plot(times, sinusoidal[0] @ sinusoidal.T)
middle.set(title="product of two positions", xlabel="distance")
for _ in range(3):  # three vectors, drawn at random
    content = np.tile(rng.normal(size=D), (64, 1))
    right.plot(times, attention.rotary(content)[0] @ attention.rotary(content).T / math.sqrt(D))
right.set(title="rotary: a vector's score with itself", xlabel="distance")
plt.show()

# %% [markdown]
# **What to see.** Left: fast hands at the left, slow ones at the right; each row is another pattern. Middle: a
# position is most like itself, and the product falls with the distance, in ripples that the faster hands make.
# Right: three vectors, each at time 0 and again at a distance: the score is highest where they coincide, and the
# ripples depend on the content.
#
# ## 8. A block
#
# A block adds two things to its input, the *residual stream*: what the heads found, and what an MLP makes of each
# character by itself (up to 4 D channels, a GELU, down again). Attention moves information between times, the MLP
# works on it within a time. Each of the two reads the stream through a LayerNorm: mean 0, variance 1, times a
# learned gain. Since the stream is only ever added to, a part of the gradient reaches the embedding unchanged, past
# all blocks.

# %%
gain = rng.normal(size=D)
normed = layers.layernorm(x, gain)
check("LayerNorm, by hand", normed, (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * gain)
check("LayerNorm, PyTorch", normed, F.layer_norm(x_torch, (D,), torch.from_numpy(gain)))
check("GELU, PyTorch", layers.gelu(x), F.gelu(x_torch))

options = Options(V, context_length=64, d_model=D, n_layers=1, n_heads=H, positions="none")
parameters = {name: rng.normal(size=shape) / 4 for name, shape in parameter_shapes(options).items()}
attended = x + blocks.self_attention(
    parameters, "blocks.0.attention", blocks.norm(parameters, "blocks.0.attention_norm", x, options), options
)
ours = attended + blocks.mlp(
    parameters, "blocks.0.mlp", blocks.norm(parameters, "blocks.0.mlp_norm", attended, options), options
)

block = transformer.Block(ModelConfig(d_model=D, n_heads=H, positions="none"))
for name, parameter in block.named_parameters():
    parameter.copy_(torch.from_numpy(parameters[f"blocks.0.{name}"]))
check("block", ours, block(x_torch, transformer.NoPositions(), 0, None))

# %%
source(blocks.mlp)

# %% [markdown]
# ## 9. The model
#
# Embedding, positions, blocks, a last norm, and the *head*: the product with each character's embedding gives V
# *logits*, whose softmax is the probability of each character to come next. The loss is the mean of -ln p(what
# came), in nats. Letterloom's model and the reference agree with every kind of position, in the logits, in the loss,
# and in the gradient by every parameter: the reference's backward is written by hand, PyTorch's comes from autograd.

# %%
for positions in ("none", "learned", "sinusoidal", "rotary"):
    options = Options(V, context_length=64, d_model=D, n_layers=2, n_heads=H, positions=positions)
    parameters = {name: rng.normal(size=shape) / 4 for name, shape in parameter_shapes(options).items()}
    config = ModelConfig(context_length=64, d_model=D, n_layers=2, n_heads=H, positions=positions)
    fast = transformer.Transformer(config, V)
    for name, parameter in fast.named_parameters():
        parameter.copy_(torch.from_numpy(parameters[name]))
    check(f"logits, positions {positions}", model.forward(parameters, ids, options), fast(torch.from_numpy(ids)))

before, after = ids[:, :-1], ids[:, 1:]  # what is read, and what is to be guessed at each time
loss, gradients = model.loss_and_gradients(parameters, before, after, options)
with torch.enable_grad():
    loss_torch = F.cross_entropy(fast(torch.from_numpy(before)).flatten(0, 1), torch.from_numpy(after).flatten())
    loss_torch.backward()
check("loss", np.array(loss), loss_torch.detach())
for name, parameter in fast.named_parameters():
    check(f"gradient by {name}", gradients[name], parameter.grad)

# %%
source(model.residual_stream)

# %% [markdown]
# ## 10. What trained heads look at
#
# Two blocks of four heads with rotary positions, trained for some seconds on the language reference that comes with
# Python. The loss begins where every character is as likely as any other, at ln V nats. Afterwards the trained
# weights go into the reference, `verify` holds the two against each other on the same ids, and every map below is
# computed by the functions above.

# %%
torch.set_default_dtype(torch.float32)
torch.set_grad_enabled(True)
run = letterloom.train(
    "python-docs",
    recipe="small",
    model={"d_model": 64, "n_layers": 2, "context_length": 64, "norm": "layernorm", "activation": "gelu"}
    | {"qk_norm": False, "token_smear": False, "logit_soft_cap": None, "tied_head": True},
    training={"max_steps": 400, "threads": 1, "eval_interval": 50},
)
run

# %%
trained = run.load()
comparison = trained.verify()
print(f"trained model, over {comparison.characters} characters: largest difference {comparison.difference:.1e}")
assert comparison.agrees

tokenizer, network = trained.checkpoint.tokenizer, trained.network
parameters = {name: weight.detach().double().numpy() for name, weight in network.named_parameters()}
options = Options(network.vocab_size, context_length=64, d_model=64, n_layers=2, n_heads=4, positions="rotary")
H, K = 4, 16


def attention_maps(ids: np.ndarray) -> np.ndarray:
    """Ids (B, T) -> the weights of all heads (n_layers, B, H, T, T)."""
    stream = model.residual_stream(parameters, ids, options)  # before the first sublayer and after each
    maps = []
    for i in range(options.n_layers):
        name = f"blocks.{i}.attention"
        normed = blocks.norm(parameters, f"{name}_norm", stream[2 * i], options)
        q, k, _ = np.split(blocks.linear(parameters, f"{name}.qkv", normed), 3, axis=-1)  # (B, T, D) each
        q, k = (attention.rotary(attention.split_heads(part, H)) for part in (q, k))  # (B, H, T, K) each
        maps.append(attention.attention_weights(q, k))
    return np.array(maps)


sentence = "the function returns a value"
maps = attention_maps(tokenizer.encode(sentence)[None])[:, 0]  # (n_layers, H, T, T)

figure, grid = plt.subplots(2, H, figsize=(12, 6.5), layout="constrained")
for i, row in enumerate(grid):
    for h, axes in enumerate(row):
        draw(axes, maps[i, h], sentence, f"block {i}, head {h}")
plt.show()

# %% [markdown]
# **What to see.** Choose a character at the left and read along its row what it takes from. A dark line just under
# the diagonal is a head that looks at the character before; a broad band mixes the last few; dark columns are places
# that many look back to, such as the spaces between words. All of this was learned from guessing the next character.
# Another seed gives the tasks to other heads, but the tasks return.
#
# One sentence may mislead, so here is the mean over held-out text: how much each head takes from the character
# itself, the one before, the one before that, and from spaces and line ends; and how far it looks back. A map shows
# where a head looks, not whether that matters. The last column does: by how much the loss rises when what the head
# found is replaced by zero.

# %%
held_out = tokenizer.encode((run.path / "held-out.txt").read_text(encoding="utf-8"))[: 16 * 65].reshape(16, 65)
before, after = held_out[:, :-1], held_out[:, 1:]  # (B, T) each
loss = layers.cross_entropy(model.forward(parameters, before, options), after)
maps = attention_maps(before)  # (n_layers, B, H, T, T)
blank = np.isin(before, tokenizer.encode(" \n"))  # (B, T)
distance = np.subtract.outer(np.arange(64), np.arange(64))  # (T, T)

print("            itself  1 back  2 back  blanks  distance  loss without it")
for i in range(options.n_layers):
    for h in range(H):
        weights = maps[i, :, h]  # (B, T, T)
        near = [np.diagonal(weights, -back, axis1=1, axis2=2).mean() for back in range(3)]
        blanks = (weights * blank[:, None, :]).sum(axis=-1).mean()
        without = {name: array.copy() for name, array in parameters.items()}
        without[f"blocks.{i}.attention.out.weight"][:, h * K : (h + 1) * K] = 0.0
        rise = layers.cross_entropy(model.forward(without, before, options), after) - loss
        shares = "  ".join(f"{100 * share:4.0f} %" for share in [*near, blanks])
        print(f"block {i} head {h}  {shares}  {(weights * distance).sum(axis=-1).mean():8.1f}  {loss:.2f} + {rise:.2f}")

# %% [markdown]
# ## To try
#
# 1. In section 3, give every character the same query. What do the weights depend on now, and what do the rows look
#    like?
# 2. In section 5, draw the entropy for queries of variance 4. By what would you have to divide?
# 3. In section 7, put sinusoidal positions into the `listen:` test. Which of its assertions fails?
# 4. Train section 10 with `"positions": "none"` or `"learned"`; the same belongs into `Options`, and
#    `attention_maps` then needs no `rotary`. What becomes of the loss, and of the heads that look one back?
# 5. Train ten times as long on a text with repetitions. Does a head appear that looks for the last time the present
#    character stood, and takes from the one after it?
