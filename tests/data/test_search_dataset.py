"""The two halves of the training data."""

import pytest
from project import Project, write_image

from quantnas_sr.data.search_dataset import QuantNASSearchDataset
from quantnas_sr.errors import OptionError


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("data"))
    project.make_data()
    for i in range(10):
        write_image(project.folder / f"disk/gt/{i}.png", 32, 32, seed=i)
        write_image(project.folder / f"disk/lq/{i}.png", 8, 8, seed=i)
    return project


def options(project: Project, backend: str, **changes) -> dict:
    roots = {
        "disk": ("disk/gt", "disk/lq"),
        "lmdb": ("datasets/train_HR_sub.lmdb", "datasets/train_LRbicx4_sub.lmdb"),
    }
    gt, lq = (str(project.folder / root) for root in roots[backend])
    opt = {"name": "x", "type": "QuantNASSearchDataset", "phase": "train", "scale": 4, "gt_size": 32}
    opt.update(dataroot_gt=gt, dataroot_lq=lq, io_backend={"type": backend}, use_hflip=True, use_rot=True)
    return {**opt, **changes}


@pytest.mark.parametrize("backend", ["disk", "lmdb"])
def test_the_halves_are_disjoint_and_together_everything(project, backend):
    dataset = QuantNASSearchDataset(options(project, backend))
    items = [dataset[i] for i in range(len(dataset))]
    weights, alphas = {item["gt_path"] for item in items}, {item["gt_alpha_path"] for item in items}
    assert not weights & alphas
    assert len(weights | alphas) == len(dataset.dataset)
    assert items[0]["lq"].shape == items[0]["lq_alpha"].shape == (3, 8, 8)
    assert items[0]["gt"].shape == items[0]["gt_alpha"].shape == (3, 32, 32)


def test_the_split_is_the_same_every_time(project):
    first, second = (QuantNASSearchDataset(options(project, "disk")) for _ in range(2))
    assert first.alpha_indices == second.alpha_indices and first.weight_indices == second.weight_indices


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_each_half_is_used_whole_in_an_epoch(project, fraction):
    dataset = QuantNASSearchDataset(options(project, "disk", alpha_fraction=fraction))
    items = [dataset[i] for i in range(len(dataset))]
    assert len({item["gt_alpha_path"] for item in items}) == round(fraction * 10)
    assert len({item["gt_path"] for item in items}) == 10 - round(fraction * 10)


def test_processes_of_a_distributed_run_share_no_image_between_the_halves(project):
    from basicsr.data.data_sampler import EnlargedSampler

    dataset = QuantNASSearchDataset(options(project, "disk"))
    seen = []
    for rank in range(2):
        indices = list(EnlargedSampler(dataset, num_replicas=2, rank=rank))
        seen.append(({dataset[i]["gt_path"] for i in indices}, {dataset[i]["gt_alpha_path"] for i in indices}))
    weights, alphas = seen[0][0] | seen[1][0], seen[0][1] | seen[1][1]
    assert not weights & alphas


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 0.001])
def test_a_half_without_images_is_refused(project, fraction):
    with pytest.raises(OptionError, match="alpha_fraction"):
        QuantNASSearchDataset(options(project, "disk", alpha_fraction=fraction))
