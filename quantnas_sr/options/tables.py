"""The keys of an options file that BasicSR's pipelines and our models read: kinds, which are required, what they mean.

Errors and `docs/options.md` follow from these tables. The arguments of networks, losses, optimizers and metrics are not
here: they follow from the signatures of their classes.
"""

from typing import Dict, Mapping, NamedTuple, Tuple

from quantnas_sr.values.kinds import (
    FILE_NAME,
    MAPPING,
    SWITCH,
    TEXT,
    Kind,
    either,
    many,
    number,
    optional,
    whole,
    words,
)


class Key(NamedTuple):
    """A key of a section.

    Args:
        kind: what it may have as its value.
        meaning: for the documentation.
        required: in ``train`` runs, in ``test`` runs, in ``both``, or in none.
    """

    kind: Kind
    meaning: str
    required: str = ""

    def is_required(self, is_train: bool) -> bool:
        """Whether a run of this stage needs it."""
        return self.required in ("both", "train" if is_train else "test")


Table = Mapping[str, Key]

_SHARE = number(at_least=0, below=1)
_POSITIVE = number(above=0)
_WEIGHT = number(at_least=0, at_most=10**9)
#: Values of ``train: amp``.
AMP_TYPES = ("none", "auto", "bfloat16", "float16")

#: The outermost keys.
RUN: Table = {
    "name": Key(FILE_NAME, "of the run, whose folder is `experiments/<name>` or `results/<name>`", "both"),
    "model_type": Key(TEXT, "a registered model", "both"),
    "scale": Key(whole(at_least=1, at_most=64), "how many times as high and wide the output is"),
    "num_gpu": Key(either(words("auto"), whole(at_least=0)), "GPUs of this process: 0, 1 or `auto`", "both"),
    "manual_seed": Key(optional(whole(at_least=0, at_most=2**32 - 1)), "of all random generators; random by default"),
    "datasets": Key(
        MAPPING, "by phase: `train`, `val`, `val_2`, ... of a training, `test`, `test_2`, ... of a test", "both"
    ),
    "network_g": Key(MAPPING, "`type` of a registered arch, and its arguments", "both"),
    "path": Key(MAPPING, "checkpoints to start from; may be `{}`", "both"),
    "train": Key(MAPPING, "the training", "train"),
    "val": Key(MAPPING, "the validation", "test"),
    "logger": Key(MAPPING, "what is logged and saved, and how often", "train"),
    "dist_params": Key(optional(MAPPING), "of distributed training by Slurm"),
    "find_unused_parameters": Key(SWITCH, "of DistributedDataParallel"),
}

PATH: Table = {
    "pretrain_network_g": Key(optional(TEXT), "checkpoint of the network", ""),
    "param_key_g": Key(
        optional(TEXT),
        "`params`, `params_ema`, or ~: the better in a test; weights without a key",
    ),
    "strict_load_g": Key(SWITCH, "whether the checkpoint must have exactly the network's keys"),
    "resume_state": Key(optional(TEXT), "`.state` file of a training to go on with"),
    "ignore_resume_networks": Key(optional(either(TEXT, many(TEXT))), "networks that do not resume"),
    "experiments_root": Key(TEXT, "set by BasicSR"),
    "results_root": Key(TEXT, "set by BasicSR"),
    "models": Key(TEXT, "set by BasicSR"),
    "training_states": Key(TEXT, "set by BasicSR"),
    "log": Key(TEXT, "set by BasicSR"),
    "visualization": Key(TEXT, "set by BasicSR"),
}

#: Of ``train:``, what BasicSR's `SRModel` reads.
SR_TRAIN: Table = {
    "total_iter": Key(whole(at_least=1), "iterations", "train"),
    "warmup_iter": Key(whole(at_least=-1), "iterations in which the learning rate rises; -1 for none"),
    "ema_decay": Key(_SHARE, "of the moving average of the weights; 0 for none"),
    "optim_g": Key(MAPPING, "`type` of an optimizer of `torch.optim` or `Muon`, `lr`, its other arguments", "train"),
    "scheduler": Key(MAPPING, "`type` of a schedule of the learning rate, and its arguments", "train"),
    "pixel_opt": Key(optional(MAPPING), "`type` of a registered loss, and its arguments"),
    "perceptual_opt": Key(optional(MAPPING), "`type` of a registered loss, and its arguments"),
}
_EVERY_TRAIN: Table = {
    "step_lr": Key(optional(number(above=0, at_most=1)), "learning rate of a step, as a share of the step"),
    "bias_lr": Key(optional(number(above=0, at_most=1)), "learning rate of the biases, as a share of the weights'"),
    "grad_clip": Key(optional(_POSITIVE), "largest gradient norm in a step of the weights"),
    "precise_bn": Key(whole(at_least=0, at_most=10**4), "training batches that statistics of BatchNorm are taken from"),
    "amp": Key(optional(words(*AMP_TYPES)), "mixed precision of the training passes"),
    "max_skipped": Key(whole(at_least=1), "iterations in a row with a step that is not finite, after which a run ends"),
}
#: Of ``train:``, what `QuantNASSearchModel` reads beside them.
SEARCH_TRAIN: Table = {
    "pixel_opt": Key(MAPPING, "`type` of a registered loss, and its arguments", "train"),
    "optim_alpha": Key(MAPPING, "optimizer of the alphas, as `optim_g`", "train"),
    "alpha_warmup": Key(_SHARE, "share of total_iter before the first step of the alphas"),
    "hardware_opt": Key(MAPPING, "loss of the expected cost", "train"),
    "entropy_opt": Key(MAPPING, "loss of the alphas' entropy", "train"),
    **_EVERY_TRAIN,
}
#: Of ``train:``, what `QuantNASModel` reads beside them.
QAT_TRAIN: Table = {
    "fp_warmup": Key(_SHARE, "share of total_iter in full precision"),
    "calibration_iter": Key(whole(at_least=0), "iterations that set the steps of activations"),
    "teacher": Key(optional(MAPPING), "a trained network whose images are imitated"),
    **_EVERY_TRAIN,
}
#: Of ``train: teacher``.
TEACHER: Table = {
    "path": Key(TEXT, "checkpoint of the teacher", "train"),
    "network": Key(optional(MAPPING), "`type` of a registered arch, and its arguments"),
    "param_key": Key(optional(TEXT), "`params` or `params_ema`"),
    "full_precision": Key(SWITCH, "whether it computes without its quantizers"),
    "loss_weight": Key(_WEIGHT, "of the mean distance from the teacher's images"),
}
#: The keys of ``train:`` by model.
TRAIN: Mapping[str, Table] = {
    "QuantNASSearchModel": {**SR_TRAIN, **SEARCH_TRAIN},
    "QuantNASModel": {**SR_TRAIN, **QAT_TRAIN},
}

VAL: Table = {
    "val_freq": Key(whole(at_least=1), "iterations between two validations", "train"),
    "save_img": Key(SWITCH, "whether the upscaled images are saved", "both"),
    "suffix": Key(
        optional(either(words(""), FILE_NAME)), "of the names of saved images in a test; ~ for the run's name"
    ),
    "pbar": Key(SWITCH, "whether a progress bar is shown"),
    "metrics": Key(optional(MAPPING), "by name, `type` of a registered metric, and its arguments"),
}

LOGGER: Table = {
    "print_freq": Key(whole(at_least=1), "iterations between two lines of the log", "train"),
    "save_checkpoint_freq": Key(whole(at_least=1), "iterations between two checkpoints", "train"),
    "use_tb_logger": Key(SWITCH, "whether TensorBoard files are written", "train"),
    "wandb": Key(optional(MAPPING), "Weights & Biases: `project`, `resume_id`"),
}
#: Of ``logger:``, what our models read beside it.
OUR_LOGGER: Table = {
    "keep_checkpoints": Key(optional(whole(at_least=1)), "checkpoints that are kept, the newest ones"),
}
WANDB: Table = {
    "project": Key(optional(TEXT), "name of a project; ~ for none"),
    "resume_id": Key(optional(TEXT), "a run to go on with"),
}

_RGB = many(number(), length=3)
#: What every dataset of BasicSR may have.
DATASET: Table = {
    "name": Key(FILE_NAME, "in logs and results", "both"),
    "type": Key(TEXT, "a registered dataset", "both"),
    "dataroot_gt": Key(TEXT, "folder or LMDB of high-resolution images"),
    "dataroot_lq": Key(TEXT, "folder or LMDB of low-resolution images"),
    "io_backend": Key(MAPPING, "where images are stored, by its `type`"),
    "filename_tmpl": Key(TEXT, "name of a low-resolution image, with `{}` for that of the high-resolution one"),
    "meta_info_file": Key(optional(TEXT), "list of the images to use"),
    "color": Key(optional(words("y", "rgb")), "`y` for networks of one channel, the luma of YCbCr"),
    "mean": Key(optional(_RGB), "subtracted from the images"),
    "std": Key(optional(_RGB), "the images are divided by it"),
    "pin_memory": Key(SWITCH, "of torch's DataLoader"),
    "persistent_workers": Key(SWITCH, "of torch's DataLoader"),
    "prefetch_mode": Key(optional(words("cpu", "cuda")), "how batches are loaded ahead"),
    "num_prefetch_queue": Key(
        whole(at_least=1, at_most=4096), "batches that are loaded ahead with `prefetch_mode: cpu`"
    ),
    "gt_size": Key(whole(at_least=1), "side of a high-resolution patch"),
    "use_hflip": Key(SWITCH, "whether patches are flipped at random"),
    "use_rot": Key(SWITCH, "whether patches are turned at random"),
    "num_worker_per_gpu": Key(whole(at_least=0, at_most=4096), "processes that load images"),
    "batch_size_per_gpu": Key(whole(at_least=1, at_most=2**20), "patches of a batch"),
    "dataset_enlarge_ratio": Key(number(above=0, at_most=10**6), "how often an epoch goes through the images"),
    "phase": Key(TEXT, "set by BasicSR"),
    "scale": Key(whole(at_least=1), "set by BasicSR"),
}
IO_BACKEND: Table = {"type": Key(words("disk", "lmdb", "memcached"), "files, an LMDB, or memcached", "both")}
#: What `QuantNASSearchDataset` adds.
SEARCH_DATASET: Table = {
    "dataset": Key(TEXT, "the dataset that is split"),
    "alpha_fraction": Key(number(above=0, below=1), "share of the images for the steps of the alphas"),
}
#: Needed in the phase ``train``, by every dataset and by paired ones.
LOADER_KEYS = ("num_worker_per_gpu", "batch_size_per_gpu")
PATCH_KEYS = ("gt_size", "use_hflip", "use_rot")

DIST_PARAMS: Table = {
    "backend": Key(words("nccl", "gloo", "mpi"), "of torch.distributed"),
    "port": Key(either(whole(at_least=1, at_most=65535), TEXT), "of the first process"),
}

#: Kinds of arguments that optimizers, schedules, losses and metrics have in common, where their signatures say nothing.
ARGUMENTS: Dict[str, Kind] = {
    "lr": number(above=0, at_most=100),
    "weight_decay": number(at_least=0, at_most=100),
    "momentum": _SHARE,
    "betas": many(_SHARE, length=2),
    "milestones": many(whole(at_least=0)),
    "gamma": number(above=0, at_most=10),
    "periods": many(whole(at_least=1)),
    "restarts": many(whole(at_least=0)),
    "restart_weights": many(number(at_least=0, at_most=100)),
    "eta_min": number(at_least=0, at_most=100),
    "loss_weight": _WEIGHT,
    "perceptual_weight": _WEIGHT,
    "style_weight": _WEIGHT,
    "reduction": words("mean", "sum"),
    "layer_weights": MAPPING,
    "crop_border": whole(at_least=0),
    "input_order": words("HWC", "CHW"),
    "test_y_channel": SWITCH,
    "convert_to": words("y", "gray"),
    "better": words("higher", "lower"),
}

#: Keys whose values are text even where they look like numbers (``name: 1e4``), with all that is below them.
TEXT_KEYS: Tuple[str, ...] = (
    *("name", "model_type", "type", "suffix", "project", "resume_id", "filename_tmpl", "meta_info_file"),
    *("dataset", "genotype", "search_space", "table", "criterion", "vgg_type", "skip", "client_keys", "db_paths"),
)
