"""Evidence as a person gets it: by command, by HTTP, and verified by command against the pinned root."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from cloud.cli import cloud
from cloud.main import build_app
from sync.keys import Ed25519SigningKey
from tests.fakes.clone_world import SpentTwice, evidence_of, spend_twice
from tests.fakes.cloud_world import OPERATOR_TOKEN, CloudWorld
from tests.vectors.parts import flip_last_bit

OPERATOR = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cloud")


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[CloudWorld]:
    made = CloudWorld(folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def case(world: CloudWorld) -> SpentTwice:
    return spend_twice(world)


@pytest.fixture
async def http(world: CloudWorld) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build_app(world.cloud))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
        yield client


def run(folder: Path, *arguments: object) -> Result:
    runner = CliRunner(env={"TILLBOX_DATA_FOLDER": str(folder), "TILLBOX_DATABASE_URL": None})
    return runner.invoke(cloud, [str(word) for word in arguments])


def test_every_case_is_listed_with_the_payment_it_is_about(folder: Path, case: SpentTwice) -> None:
    done = run(folder, "evidence", "--list")
    assert done.exit_code == 0, done.output
    for record, kind in ((case.again, "other_content_same_counter"), (case.beyond, "exceeds_cover")):
        name = f"{record.content.terminal_id.hex()}:{record.content.payment_id.hex()}"
        (line,) = (line for line in done.output.splitlines() if kind in line)
        assert name in line


def test_a_case_and_its_payment_give_one_file_that_verifies(
    folder: Path, world: CloudWorld, case: SpentTwice, tmp_path: Path
) -> None:
    listed = run(folder, "evidence", "--list").output.splitlines()
    number = next(line.split()[0] for line in listed if "other_content_same_counter" in line)
    payment, terminal = case.again.content.payment_id.hex(), case.again.content.terminal_id.hex()
    for way in (("--case", number), ("--payment", payment), ("--payment", f"{terminal}:{payment}")):
        file = tmp_path / "case.zip"
        done = run(folder, "evidence", *way, "--out", file)
        assert done.exit_code == 0, done.output
        assert file.read_bytes() == evidence_of(world, case.again)
    assert [path.name for path in tmp_path.iterdir()] == ["case.zip"]
    root = folder / "keys" / "root.pub"
    done = run(folder, "verify-evidence", tmp_path / "case.zip", "--root-key", root)
    assert done.exit_code == 0, done.output
    assert "signed different payments under one counter, 7: 1 and 2" in done.output
    assert "signed away 100.00 of the 60.00 it was granted" in done.output
    assert "could cost 14000 and cost 4000" in done.output
    assert done.output.splitlines()[-1] == "Every signature holds, up to the root given."


def test_a_tampered_file_and_another_root_are_refused_by_name_with_status_1(
    folder: Path, world: CloudWorld, case: SpentTwice, tmp_path: Path
) -> None:
    pack, root = evidence_of(world, case.again), folder / "keys" / "root.pub"
    file = tmp_path / "case.zip"
    file.write_bytes(flip_last_bit(pack))
    done = run(folder, "verify-evidence", file, "--root-key", root)
    assert done.exit_code == 1
    assert "[not_a_pack]" in done.output
    at = pack.index(b"WHAT IS PROVEN")
    file.write_bytes(pack[:at] + b"w" + pack[at + 1 :])
    done = run(folder, "verify-evidence", file, "--root-key", root)
    assert done.exit_code == 1
    assert "is no evidence" in done.output
    file.write_bytes(pack)
    stranger = tmp_path / "root.pub"
    stranger.write_text(Ed25519SigningKey.generate().public_key.raw.hex())
    done = run(folder, "verify-evidence", file, "--root-key", stranger)
    assert done.exit_code == 1
    assert "[role_refused]" in done.output


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "Name one of"),
        (["--list", "--case", "1"], 2, "Name one of"),
        (["--case", "1"], 2, "--out"),
        (["--case", "99999", "--out", "case.zip"], 1, "[case_unknown]"),
        (["--payment", "00" * 16, "--out", "case.zip"], 1, "[payment_unknown]"),
        (["--payment", "what", "--out", "case.zip"], 1, "[payment_malformed]"),
    ],
)
def test_what_names_no_payment_writes_nothing_and_says_why(
    folder: Path,
    case: SpentTwice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(folder, "evidence", *arguments)
    assert done.exit_code == status, done.output
    assert words in done.output
    assert list(tmp_path.iterdir()) == []


async def test_an_operator_fetches_the_same_file(http: httpx.AsyncClient, world: CloudWorld, case: SpentTwice) -> None:
    content = case.again.content
    path = f"/v1/operator/evidence/{content.terminal_id.hex()}/{content.payment_id.hex()}"
    answer = await http.get(path, headers=OPERATOR)
    assert answer.status_code == 200
    assert answer.content == evidence_of(world, case.again)
    assert answer.headers["content-type"] == "application/zip"
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        (f"{'00' * 8}/{'00' * 16}", {}, 401, "not_signed_in"),
        (f"{'00' * 8}/{'00' * 16}", {"Authorization": "Bearer nobody"}, 403, "not_allowed"),
        (f"{'00' * 8}/{'00' * 16}", OPERATOR, 404, "payment_unknown"),
        (f"{'00' * 8}/{'00' * 15}", OPERATOR, 422, "invalid_request"),
        (f"{'0G' * 8}/{'00' * 16}", OPERATOR, 422, "invalid_request"),
    ],
)
async def test_nobody_else_fetches_anything(
    http: httpx.AsyncClient, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await http.get(f"/v1/operator/evidence/{path}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_the_statement_shows_the_bound_beside_the_loss(http: httpx.AsyncClient, case: SpentTwice) -> None:
    answer = await http.get("/v1/operator/reconciliation", headers=OPERATOR)
    assert answer.json()["exposures"] == [
        {
            "serial": case.phone.serial.hex(),
            "groups": 2,
            "ceiling_minor": 200_00,
            "reserve_minor": 60_00,
            "bound_minor": 140_00,
            "loss_minor": 40_00,
            "is_within": True,
        }
    ]
    assert all(each["case_id"] for each in answer.json()["exceptions"])
