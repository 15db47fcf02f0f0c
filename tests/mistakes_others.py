"""What users may type that the other launchers must refuse."""

from tests.mistakes_search import Table

CELL = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
PAPER = "--config=experiments/configs/papers/nasbench201_cifar10.py:proxy"
TRAIN = "retrain --workdir={place}/new --genotype="
V2 = f"{TRAIN}DARTS_V2"
#: The other launchers: its name comes first.
OTHERS: Table = {
    # report
    "nothing to report": ("report", ["--workdir=DIR is missing"]),
    "an empty name": ("report --workdir=", ["--workdir=DIR is missing"]),
    "report of no folder": (
        "report --workdir={place}/no",
        ["{place}/no", "config.json"],
    ),
    "report of a file": ("report --workdir={place}/file", ["{place}/file", "no"]),
    "report of nothing": ("report --workdir={place}/empty", ["nothing of a run"]),
    "report's flag": ("report --wrokdir=x", ["'wrokdir'", "workdir"]),
    "report's argument": ("report {place}/empty", ["{place}/empty", "--name=value"]),
    # lookup
    "nothing to look up": ("lookup", ["architecture string", "genotype.json"]),
    "a shorter cell": ("lookup |nor_conv_3x3~0|", ["three nodes", "|op~0|+"]),
    "an operation of none": (
        "lookup |nor_conv_9x9~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        ["'nor_conv_9x9'", "nor_conv_3x3"],
    ),
    "sources in disorder": (
        "lookup |none~0|+|none~1|none~0|+|none~0|none~1|none~2|",
        ["not a NAS-Bench-201 string", "|op~0|op~1|"],
    ),
    "looked up nowhere": ("lookup {place}/no", ["{place}/no is no file"]),
    "looked up in an empty folder": ("lookup {place}/empty", ["genotype.json"]),
    "looked up in another space": ("lookup {place}/darts.json", ["nasbench201"]),
    "looked up in half a file": ("lookup {place}/half.json", ["half.json", "JSON"]),
    "looked up in bytes": ("lookup {place}/bytes", ["{place}/bytes is not a text"]),
    "looked up in a well": ("lookup {place}/deep.json", ["deep.json", "form"]),
    "looked up in no table": (
        f"lookup {CELL} --nasbench201={{place}}/no.csv",
        ["--nasbench201", "no.csv does not exist"],
    ),
    "looked up in another table": (
        f"lookup {CELL} --nasbench201={{place}}/table.csv",
        ["columns a, b", "arch"],
    ),
    "looked up in no archive": (
        f"lookup {CELL} --nasbench201={{place}}/empty",
        [".csv", "NATS-Bench"],
    ),
    "lookup's flag": ("lookup --archtecture=x", ["archtecture"]),
    # prepare
    "another data set": ("prepare --dataset=mnist", ["--dataset=mnist", "cifar10"]),
    "prepared in a file": ("prepare --data_dir={place}/file", ["{place}/file"]),
    "no archive": (
        "prepare --data_dir={place}/empty --archive={place}/no.tar.gz",
        ["no.tar.gz cannot be read"],
    ),
    "another archive": (
        "prepare --data_dir={place}/empty --archive={place}/file",
        ["{place}/file must have the MD5 c32a"],
    ),
    "a folder for an archive": (
        "prepare --data_dir={place}/empty --archive={place}/empty",
        ["{place}/empty cannot be read"],
    ),
    "no archive of its sum": (
        "prepare --data_dir={place}/empty --archive={place}/file "
        "--checksum=1cb251ec0d568de6a929b520c4aed8d1",
        ["{place}/file must be a whole .tar.gz"],
    ),
    "prepare's flag": ("prepare --data_dri=x", ["'data_dri'", "data_dir"]),
    # data, by the launcher that trains
    "training with a head that does not fit": (
        f"{V2} --config=experiments/configs/retrain_cifar10.py:smoke "
        "--config.data.name=npz --config.data.path={place}/tested.npz",
        [
            "the auxiliary head does not fit features of 2×2",
            "train.auxiliary_weight=0",
            "data.image_size=32",
        ],
    ),
    "training on nothing but cutouts": (
        f"{V2} --config=experiments/configs/retrain_cifar10.py:smoke "
        "--config.data.name=npz --config.data.path={place}/tested.npz "
        "--config.train.auxiliary_weight=0",
        ["data.cutout is 16", "hides all of an 8x8 image at every place"],
    ),
    # genotypes, by the launcher that counts them
    "nothing to count": ("cost", ["--genotype=NAME|FILE|WORKDIR", "--all"]),
    "both": ("cost --all --genotype=DARTS_V2", ["--all and --genotype"]),
    "no such cell": ("cost --genotype=DARTS_V9", ["'DARTS_V9'", "DARTS_V1, DARTS_V2"]),
    "no genotype": ("cost --genotype={place}/no.json", ["no.json", "DARTS_V2"]),
    "genotype of bytes": ("cost --genotype={place}/bytes", ["not a text file"]),
    "genotype of an unknown operation": (
        "cost --genotype={place}/operation.json",
        ["'sep_conv_9x9'", "sep_conv_5x5"],
    ),
    "genotype of a later state": (
        "cost --genotype={place}/later.json",
        ["later.json: edge 1", "earlier state", "['skip_connect', 5]"],
    ),
    "genotype of an unknown state": (
        "cost --genotype={place}/concat.json",
        ["normal_concat is [2, 3, 4, 9]", "from 0 to 5"],
    ),
    "genotype of an unknown field": (
        "cost --genotype={place}/field.json",
        ["'normall'", "normal_concat"],
    ),
    "genotype of numbers": ("cost --genotype={place}/list.json", ["list.json"]),
    "genotype without an end": ("cost --genotype={place}/deep.json", ["deep.json"]),
    "half a genotype": ("cost --genotype={place}/half.json", ["half.json", "JSON"]),
    "genotype of code": ("cost --genotype={place}/code.txt", ["code.txt", "form"]),
    "genotype of three fields": ("cost --genotype=Genotype(normal=[])", ["alone"]),
    "count of no channels": (
        "cost --genotype=DARTS_V2 --channels=0",
        ["channels is 0"],
    ),
    "count of a word": ("cost --genotype=DARTS_V2 --channels=x", ["--channels=x"]),
    "count of no cells": ("cost --genotype=DARTS_V2 --num_cells=0", ["num_cells is 0"]),
    "count of no classes": (
        "cost --genotype=DARTS_V2 --num_classes=0",
        ["num_classes is 0", "at least 1"],
    ),
    "count of no data": (
        "cost --genotype=DARTS_V2 --dataset=mnist",
        ["'mnist'", "cifar10, cifar100, imagenet"],
    ),
    # memory
    "memory of no method": (
        "benchmark --what=memory --methods=x",
        ["--methods has 'x'", "stc_nas"],
    ),
    "memory of no space": (
        "benchmark --what=memory --space=x",
        ["--space is 'x'", "nasbench201"],
    ),
    "memory of no channels": ("benchmark --channels=0", ["--channels=0", "positive"]),
    "memory of no batch": ("benchmark --batch_size=x", ["--batch_size=x"]),
    # convert
    "nothing to convert": ("convert", ["--genotype or --weights is missing"]),
    "converted into nothing": ("convert --weights={place}/no.pt", ["--output"]),
    "converted nowhere": (
        "convert --genotype=DARTS_V2 --output={place}/no/x.json",
        ["--output: {place}/no is no folder"],
    ),
    "converted to else": (
        "convert --genotype=DARTS_V2 --output={place}/x.yaml",
        ["x.yaml", ".json, .txt"],
    ),
    "no weights": (
        "convert --weights={place}/no.safetensors --output={place}/x.pt",
        ["no.safetensors is not there"],
    ),
    "weights of text": (
        "convert --weights={place}/text.safetensors --output={place}/x.pt",
        ["text.safetensors is not read"],
    ),
    "weights of else": (
        "convert --weights={place}/file --output={place}/x.pt",
        ["{place}/file is not a file of weights", ".safetensors"],
    ),
    "weights that are code": (
        "convert --weights={place}/evil.pt --output={place}/x.safetensors",
        ["evil.pt is not read"],
    ),
    "another form": ("convert --genotype=DARTS_V2 --form=xml", ["--form=xml", "text"]),
    # retrain
    "nothing to train": ("retrain", ["--genotype is missing", "DARTS_V2"]),
    "training of no cell": (f"{TRAIN}DARTS_V9", ["--genotype", "'DARTS_V9'"]),
    "training of no search": (f"{TRAIN}{{place}}/empty", ["has no genotype.json"]),
    "training of bytes": (f"{TRAIN}{{place}}/bytes", ["not a text file"]),
    "training of an unknown operation": (
        f"{TRAIN}{{place}}/operation.json",
        ["'sep_conv_9x9'", "sep_conv_5x5"],
    ),
    "training in a file": (
        "retrain --genotype=DARTS_V2 --workdir={place}/file",
        ["workdir {place}/file is a file"],
    ),
    "training's field": (f"{V2} --config.train.epoch=1", ["'epoch'", "epochs"]),
    "training of no epochs": (f"{V2} --config.train.epochs=0", ["epochs is 0"]),
    "endless training": (
        f"{V2} --config.train.epochs=9999999999",
        ["epochs is 9999999999", "at most"],
    ),
    "training without batches": (
        f"{V2} --config.train.batch_size=0",
        ["train.batch_size is 0", "at least 1"],
    ),
    "training at no rate": (
        f"{V2} --config.train.learning_rate=nan",
        ["learning_rate is nan"],
    ),
    "training without paths": (
        f"{V2} --config.train.drop_path_rate=2.0",
        ["drop_path_rate is 2.0", "below 1"],
    ),
    "training without channels": (
        f"{V2} --config.network.channels=0",
        ["channels is 0", "at least 1"],
    ),
    "training without cells": (
        f"{V2} --config.network.num_cells=0",
        ["num_cells is 0"],
    ),
    "training on no data": (
        f"{V2} --config.data.name=mnist",
        ["data: name", "'mnist'", "digits"],
    ),
    "training with an endless pad": (
        f"{V2} --config.data.pad=9999999999",
        ["data.pad is 9999", "below 1025"],
    ),
    "training on no devices": (f"{V2} --num_devices=99", ["num_devices is 99"]),
    "training without minutes": (
        f"{V2} --checkpoint_minutes=-1",
        ["--checkpoint_minutes=-1"],
    ),
    # study
    "no study": ("study", ["--config=FILE", "is missing"]),
    "a study of no file": ("study --config={place}/no.py", ["no.py"]),
    "a study that raises": ("study --config={place}/raises.py", ["raises.py: bad"]),
    "another variant": (
        "study --config=experiments/configs/papers/nasbench201_cifar10.py:huge",
        ["'huge'", "proxy"],
    ),
    "none at a time": (f"study {PAPER} --parallel=0", ["--parallel=0"]),
    "another launcher": (f"study {PAPER} --launcher=pbs", ["pbs", "local", "slurm"]),
    "study's field": (f"study {PAPER} --config.sedes=1", ["'sedes'", "seeds"]),
    "study's seeds": (f"study {PAPER} --config.seeds=(-1,)", ["seeds is (-1,)"]),
    "study's baseline": (f"study {PAPER} --config.baseline=x", ["'x'", "darts"]),
    "study's table": (
        f"study {PAPER} --nasbench201={{place}}/table.csv",
        ["--nasbench201", "columns a, b"],
    ),
}
