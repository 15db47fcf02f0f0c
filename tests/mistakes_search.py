"""What users may type that ``experiments.search`` must refuse."""

CONFIGS = "experiments/configs"
Table = dict[str, tuple[str, list[str]]]

#: What is typed after a configuration; what stderr names. {place} is the folder above.
NPZ = "--config.data.name=npz"
SEARCH: Table = {
    # flags
    "unknown flag": ("--confg=x", ["flag 'confg'", "config"]),
    "no flag": ("stray", ["'stray'", "--name=value"]),
    "flag without value": ("--compilation_cache", ["--compilation_cache", "value"]),
    # fields
    "unknown field": (
        "--config.search.epoch=1",
        ["--config.search.epoch", "'epoch'", "epochs", "batch_size"],
    ),
    "unknown block": ("--config.serach.epochs=1", ["'serach'", "search", "method"]),
    "block for value": ("--config.search=3", ["--config.search=3"]),
    "word for integer": ("--config.search.epochs=x", ["search.epochs=x", "int"]),
    "fraction for integer": ("--config.search.epochs=1.5", ["search.epochs=1.5"]),
    "word for number": ("--config.search.momentum=x", ["search.momentum=x", "float"]),
    "word for yes or no": ("--config.data.flip=maybe", ["data.flip=maybe", "bool"]),
    # ranges
    "no epochs": ("--config.search.epochs=0", ["search.epochs is 0", "at least 1"]),
    "no batch": ("--config.search.batch_size=0", ["batch_size is 0", "at least 1"]),
    "a huge batch": (
        "--config.search.batch_size=100000000",
        ["batch_size is 100000000", "at most"],
    ),
    "negative batch": ("--config.search.batch_size=-3", ["batch_size is -3"]),
    "no steps": (
        "--config.search.steps_per_dispatch=0",
        ["search.steps_per_dispatch is 0", "at least 1"],
    ),
    "never evaluated": ("--config.search.evaluate_every=0", ["at least 1"]),
    "negative rate": (
        "--config.search.learning_rate=-0.1",
        ["search.learning_rate is -0.1", "at least 0"],
    ),
    "no rate": ("--config.search.learning_rate=nan", ["learning_rate is nan"]),
    "endless rate": ("--config.search.learning_rate=inf", ["learning_rate is inf"]),
    "negative decay": ("--config.search.weight_decay=-1", ["weight_decay is -1"]),
    "negative clip": ("--config.search.clip_norm=-1", ["search.clip_norm is -1"]),
    "momentum": ("--config.search.momentum=2", ["momentum is 2", "below 1"]),
    "b1": ("--config.search.arch_b1=1.0", ["search.arch_b1 is 1.0", "below 1"]),
    "b2": ("--config.search.arch_b2=-0.1", ["search.arch_b2 is -0.1", "at least 0"]),
    "pad": ("--config.data.pad=-1", ["data.pad is -1", "at least 0"]),
    "cutout": ("--config.data.cutout=-2", ["data.cutout is -2", "at least 0"]),
    "cutout of all": (
        "--config.data.cutout=100",
        ["data.cutout is 100", "hides all of an 8x8 image at every place"],
    ),
    "cutout of most": (
        "--config.data.cutout=14",
        ["data.cutout is 14", "77 % of the places"],
    ),
    "a crop of nothing": ("--config.data.pad=40", ["data.pad is 40", "leaves nothing"]),
    "black images": (
        "--config.data.name=npz --config.data.path={place}/eight.npz "
        "--config.search.batch_size=16",
        ["data: every pixel of the 40 images is 0", "look at what was read"],
    ),
    "one picture": (
        "--config.data.name=npz --config.data.path={place}/same.npz "
        "--config.search.batch_size=16",
        ["data: the 40 images are one and the same picture"],
    ),
    "a channel of nothing": (
        "--config.data.name=npz --config.data.path={place}/no_blue.npz "
        "--config.search.batch_size=16",
        ["channel 2 of the 40 images is 0 at every pixel", "deviation", "is 0"],
    ),
    "a fraction of what is not halved": (
        "--config.data.name=npz --config.data.path={place}/valid.npz "
        "--config.data.train_fraction=0.7",
        ["data.train_fraction is 0.7", "validation split of its own", "0.5"],
    ),
    "a black validation split": (
        "--config.data.name=npz --config.data.path={place}/valid.npz",
        ["data: every pixel of the 40 valid images is 0"],
    ),
    "negative seed": ("--config.seed=-1", ["seed is -1", "from 0 to"]),
    "large seed": ("--config.seed=4294967296", ["seed is 4294967296", "2**32"]),
    # several seeds
    "no seeds": ("--config.search.num_seeds=0", ["num_seeds is 0", "at least 1"]),
    "negative seeds": ("--config.search.num_seeds=-2", ["search.num_seeds is -2"]),
    "word for seeds": ("--config.search.num_seeds=x", ["search.num_seeds=x", "int"]),
    "half a seed": ("--config.search.num_seeds=1.5", ["search.num_seeds=1.5"]),
    "seeds beyond the last": (
        "--config.search.num_seeds=3 --config.seed=4294967294",
        ["search.num_seeds is 3", "from seed 4294967294 on there are 2"],
    ),
    "several negative seeds": (
        "--config.search.num_seeds=2 --config.seed=-1",
        ["seed is -1", "from 0 to"],
    ),
    "seeds mapped": (
        "--config.search.seeds_mapped=pmap",
        ["search.seeds_mapped is 'pmap'", "auto, map, vmap"],
    ),
    "paths in a batch": (
        "--config.search.num_seeds=2 --config.search.seeds_mapped=vmap",
        ["search.seeds_mapped", "'vmap'", "stc_nas samples paths", "map or auto"],
    ),
    "seeds on devices": (
        "--config.search.num_seeds=2 --num_devices=2",
        ["search.num_seeds is 2", "one device", "--num_devices=1"],
    ),
    "seeds of images of their own": (
        "--config={configs}/stc_nas_darts_imagenet.py:smoke "
        "--config.search.num_seeds=2",
        ["search.num_seeds is 2", "imagenet2012", "one seed a launch"],
    ),
    "seeds in a search's folder": (
        "--config.search.num_seeds=2 --workdir={place}/other",
        ["workdir {place}/other holds the search of one seed", "another --workdir"],
    ),
    "seeds below a file": (
        "--config.search.num_seeds=2 --workdir={place}/file",
        ["workdir {place}/file/seed0", "cannot be written"],
    ),
    "a field of several seeds": (
        "--config.search.num_seeds=2 --config.search.epochs=0",
        ["search.epochs is 0", "at least 1"],
    ),
    "seeds and a ring that cannot fit": (
        "--config={configs}/sd_darts_nasbench201_digits.py:smoke "
        "--config.search.num_seeds=2 --config.method.window=1000000000",
        ["memory", "TB", "window", "ring_dtype"],
    ),
    # method
    "method": ("--config.method.name=x", ["method.name is 'x'", "darts", "stc_nas"]),
    "another method's fields": (
        "--config.method.name=darts",
        ["method.name is 'darts'", "activation", "order", "--config"],
    ),
    "activation": (
        "--config.method.activation=tanh",
        ["method", "'tanh'", "relu", "sigmoid", "softmax"],
    ),
    "no schedule": (
        "--config.method.noise_range=1",
        ["method.noise_range is '1'", "linear(start, end)", "cosine", "steps"],
    ),
    "unknown schedule": (
        "--config.method.js_strength=sine(1,2)",
        ["method.js_strength is 'sine(1,2)'", "constant(value)"],
    ),
    "three for two": (
        "--config.method.js_strength=linear(1,2,3)",
        ["method.js_strength is 'linear(1,2,3)'", "linear(start, end)"],
    ),
    "negative noise": (
        "--config.method.noise_range=linear(-1,0)",
        ["method.noise_range is 'linear(-1,0)'", "-1, below 0"],
    ),
    "endless noise": (
        "--config.method.noise_range=linear(1e999,0)",
        ["method.noise_range is 'linear(1e999,0)'", "not finite"],
    ),
    "devices": ("--num_devices=99", ["num_devices is 99", "from 1 to"]),
    "temperature": (
        "--config={configs}/gdas_nasbench201_digits.py:smoke "
        "--config.method.temperature=linear(10,0)",
        ["method: temperature goes down to 0", "above 0"],
    ),
    "more sub-graphs than operations": (
        "--config={configs}/msg_das_nasbench201_digits.py:smoke --config.method.k=6",
        ["k=6", "5 operations"],
    ),
    "voting": (
        "--config={configs}/sd_darts_nasbench201_digits.py:smoke "
        "--config.method.voting=median",
        ["method: voting='median'", "mean, ema"],
    ),
    "teacher": (
        "--config={configs}/sd_darts_nasbench201_digits.py:smoke "
        "--config.method.teacher=logits",
        ["method: teacher='logits'", "outputs, weights"],
    ),
    "metric": (
        "--config={configs}/sd_darts_nasbench201_digits.py:smoke "
        "--config.method.metric=l2",
        ["method: metric='l2'", "kl, euclidean, manhattan, cosine"],
    ),
    "window": (
        "--config={configs}/sd_darts_nasbench201_digits.py:smoke "
        "--config.method.window=0",
        ["method: window=0", "at least 1"],
    ),
    "a ring that cannot fit": (
        "--config={configs}/sd_darts_nasbench201_digits.py:smoke "
        "--config.method.window=1000000000",
        ["memory", "TB", "window", "ring_dtype"],
    ),
    "partial channels": (
        "--config={configs}/pc_darts_nasbench201_digits.py:smoke "
        "--config.supernet.channels=6",
        ["supernet: channels=6", "multiple of 4"],
    ),
    "finalists": (
        "--config={configs}/random_nasbench201_digits.py:smoke "
        "--config.method.finalists=9",
        ["method: finalists=9", "from 1 to 4"],
    ),
    "alpha": ("--config.method.alpha_start=nan", ["method.alpha_start is nan"]),
    # supernet
    "space": (
        "--config.supernet.space=x",
        ["supernet.space is 'x'", "darts, nasbench201"],
    ),
    "dtype": (
        "--config.supernet.dtype=float16",
        ["supernet.dtype is 'float16'", "float32 or bfloat16"],
    ),
    "depthwise": (
        "--config.supernet.depthwise=x",
        ["supernet", "depthwise='x'", "banded", "grouped"],
    ),
    "no channels": (
        "--config.supernet.channels=0",
        ["supernet", "channels is 0", "at least 1"],
    ),
    "no cells": ("--config.supernet.num_cells=0", ["supernet", "num_cells is 0"]),
    "image of 6": (
        NPZ + " --config.data.path={place}/six.npz --config.search.batch_size=8",
        ["supernet", "6×6", "4"],
    ),
    "image of 3": (
        NPZ
        + " --config.data.path={place}/three.npz --config.supernet.space=darts"
        + " --config.search.batch_size=8",
        ["supernet", "(3, 3)", "4×4"],
    ),
    # data
    "data": ("--config.data.name=mnist", ["data: name", "'mnist'", "digits", "npz"]),
    "no path": (NPZ, ["data: path must be given", "npz"]),
    "path for digits": ("--config.data.path=x", ["data: path is for npz", "digits"]),
    "no npz": (NPZ + " --config.data.path={place}/no.npz", ["no.npz", "no such file"]),
    "text npz": (NPZ + " --config.data.path={place}/text.npz", ["text.npz", ".npz"]),
    "float npz": (
        NPZ + " --config.data.path={place}/float.npz",
        ["float.npz", "uint8", "float32"],
    ),
    "empty folder": (
        "--config.data.name=folder --config.data.path={place}/empty",
        ["{place}/empty", "class folders"],
    ),
    "no pixels": (
        "--config.data.name=folder --config.data.path={place}/empty "
        "--config.data.image_size=0",
        ["data: image_size", "at least 1", "got 0"],
    ),
    "no cifar": (
        "--config.data.name=cifar10 --config.data.data_dir={place}/empty",
        ["cifar10 is not prepared in {place}/empty", "experiments.prepare"],
    ),
    "fewer examples than classes": (
        "--config.data.max_examples=5",
        ["data: max_examples", "10", "got 5"],
    ),
    "no examples": ("--config.data.max_examples=0", ["max_examples", "got 0"]),
    "no train half": (
        "--config.data.train_fraction=0",
        ["data: train_fraction", "both parts", "got 0"],
    ),
    "no valid half": ("--config.data.train_fraction=1", ["train_fraction", "got 1"]),
    # workdir
    "file": ("--workdir={place}/file", ["workdir {place}/file is a file"]),
    "below a file": (
        "--workdir={place}/file/run",
        ["workdir {place}/file/run", "cannot be written"],
    ),
    "of another run": (
        "--workdir={place}/other",
        ["workdir {place}/other", "seed is 7 there and 0 here", "another --workdir"],
    ),
    "a configuration that is cut off": (
        "--workdir={place}/cut",
        ["{place}/cut/config.json", "cannot be read"],
    ),
    "no file system for it": (
        "--workdir=/proc/nasjax/run",
        ["workdir /proc/nasjax/run", "cannot be written below /proc"],
    ),
    # configuration files
    "no file": ("--config=no.py", ["no.py", "No such file"]),
    "variant": (f"--config={CONFIGS}/darts_darts_digits.py:big", ["'big'", "smoke"]),
    "broken file": ("--config={place}/broken.py", ["broken.py, line 1"]),
    "file without configuration": ("--config={place}/empty.py", ["'get_config'"]),
    # flags and values beyond what machines hold
    "negative minutes": ("--checkpoint_minutes=-1", ["--checkpoint_minutes=-1"]),
    "no minutes": ("--checkpoint_minutes=x", ["--checkpoint_minutes=x", "float"]),
    "no devices": ("--num_devices=0", ["num_devices is 0", "from 1 to"]),
    "endless epochs": ("--config.search.epochs=9999999999", ["search.epochs is 9999"]),
    "endless pad": ("--config.data.pad=9999999999", ["data.pad is 9999", "below 1025"]),
    "fraction that is none": (
        "--config.data.train_fraction=nan",
        ["data.train_fraction is nan"],
    ),
    "clip that is none": ("--config.search.clip_norm=nan", ["search.clip_norm is nan"]),
    "endless alpha": ("--config.method.alpha_start=1e999", ["alpha_start is inf"]),
    "more than memory": (
        "--config.supernet.channels=100000",
        ["the state of the search takes", "TB", "channels", "batch_size"],
    ),
    "negative cells": ("--config.supernet.num_cells=-3", ["num_cells is -3"]),
    "no method": ("--config.method.name=", ["method.name is ''", "stc_nas"]),
    "no data": ("--config.data.name=", ["data: name", "digits", "''"]),
    "folder for npz": (NPZ + " --config.data.path={place}/empty", ["{place}/empty"]),
    "file for folder": (
        "--config.data.name=folder --config.data.path={place}/file",
        ["{place}/file", "class folders"],
    ),
    "no folder": (
        "--config.data.name=folder --config.data.path={place}/no",
        ["{place}/no", "class folders"],
    ),
    "size for digits": (
        "--config.data.image_size=8",
        ["image_size is for folder", "digits"],
    ),
    # broken data
    "a broken image": (
        "--config.data.name=folder --config.data.path={place}/broken_image",
        ["{place}/broken_image/b/1.png", "must be an image"],
    ),
    "an image that is a text": (
        "--config.data.name=folder --config.data.path={place}/text_image",
        ["{place}/text_image/a/0.png", "must be an image"],
    ),
    "images of two sizes": (
        "--config.data.name=folder --config.data.path={place}/two_sizes",
        ["image_size must be given", "8x8", "9x9"],
    ),
    "a class without images": (
        "--config.data.name=folder --config.data.path={place}/no_images",
        ["{place}/no_images/b", "has none"],
    ),
    "one class": (
        "--config.data.name=folder --config.data.path={place}/one_class",
        ["{place}/one_class", "at least 2 class folders"],
    ),
    "a missing class": (
        NPZ + " --config.data.path={place}/gap.npz",
        ["gap.npz", "class 3 has no example"],
    ),
    "labels below 0": (
        NPZ + " --config.data.path={place}/negative.npz",
        ["negative.npz", "0 or more"],
    ),
    "labels that are no integers": (
        NPZ + " --config.data.path={place}/float_labels.npz",
        ["float_labels.npz", "integers"],
    ),
    "fewer labels": (
        NPZ + " --config.data.path={place}/fewer.npz",
        ["fewer.npz", "(40,)", "(39,)"],
    ),
    "images of five axes": (
        NPZ + " --config.data.path={place}/axes.npz",
        ["axes.npz", "[M, H, W, Ch]"],
    ),
    "pickled images": (
        NPZ + " --config.data.path={place}/pickled.npz",
        ["pickled.npz", "plain arrays"],
    ),
    "a cut npz": (NPZ + " --config.data.path={place}/cut.npz", ["cut.npz"]),
    "fewer examples than a batch": (
        NPZ + " --config.data.path={place}/eight.npz --config.search.batch_size=64",
        ["batch_size is 64", "at most 20"],
    ),
    # tables
    "no table": ("--nasbench201={place}/no.csv", ["--nasbench201", "no.csv"]),
    "a table of else": (
        "--nasbench201={place}/table.csv",
        ["--nasbench201", "columns a, b", "arch"],
    ),
    "a table for another space": (
        "--config={configs}/stc_nas_darts_digits.py:smoke "
        "--nasbench201={place}/table.csv",
        ["--nasbench201 is for its space", "darts"],
    ),
}
