"""The guard against folders that somebody made wrongly, on purpose or not."""

from __future__ import annotations

import base64
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_facts import RESTRICTED
from whole_shard import write_shard

from medground.hub import folder, guard, licences, tables
from medground.hub.licences import Kind, LicenceError

FILMS, CASES = "films/dev-00000-of-00001.parquet", "direct/dev-00000-of-00001.parquet"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.fixture(scope="module")
def good(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("guard") / "hub"
    folder.build(tree / "data", out)
    return out


@pytest.fixture
def hub(good, tmp_path):
    return shutil.copytree(good, tmp_path / "hub")


def test_accepts_what_the_export_makes(hub):
    guard.check(hub)


def test_every_column_of_every_config_is_refused_where_its_kind_may_not_leave(hub):
    """Fill each column that must be empty, one at a time."""
    tried = 0
    for config, columns in tables.CONFIGS.items():
        for shard in sorted((hub / config).glob("*.parquet")):
            original = shard.read_bytes()
            for column in columns:
                if column.kind in licences.NO_CONTENT:
                    continue
                rows = pq.read_table(shard).to_pylist()
                row = next(row for row in rows if row["source"] in RESTRICTED)
                row[column.name] = _some(column.type)
                _write(rows, tables.schema(config), shard)
                name = shard.relative_to(hub).as_posix()
                message = f"{name}: column {column.name} holds {column.kind.value} of {row['source']} (1 rows)"
                with pytest.raises(LicenceError, match=_literal(message)):
                    guard.check(hub)
                shard.write_bytes(original)
                tried += 1
    # direct and reasoning, questions, films, attributions, retention; a shard for each split
    assert tried == 4 * 8 + 2 * 11 + 2 * 3 + 2 * 5 + 2 * 1


def _some(type: pa.DataType):
    if type == tables.IMAGE:
        return {"bytes": PNG, "path": None}
    if pa.types.is_nested(type):
        return [[0.0, 0.0, 1.0, 1.0]] if pa.types.is_nested(type.value_type) else [0.0, 0.0, 1.0, 1.0]
    return 1 if pa.types.is_integer(type) else "words"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (base64.b64encode(PNG).decode(), "an image"),
        ("/9j/4AAQSkZJRgABAQAAAQABAAD", "an image"),
        (PNG.decode("latin-1"), "an image"),
        (b"\xff\xd8\xff\xe0".decode("latin-1"), "an image"),
        (PNG.hex() * 10, "a long text"),
        ("files/p10/p10000032/s50414267/film.jpg", "a file path"),
        ("film.dicom", "a file path"),
        ("/home/somebody/film", "a file path"),
        ("C:films", "a file path"),
        ("..\\films\\x", "a file path"),
        ("data/samples/vindr_cxr", "a file path"),
    ],
)
def test_finds_images_and_paths_in_columns_that_are_allowed(hub, value, what):
    rows = pq.read_table(hub / FILMS).to_pylist()
    row = next(row for row in rows if row["source"] == "vindr_cxr")
    row["film"] = value
    _write(rows, tables.schema("films"), hub / FILMS)
    with pytest.raises(LicenceError, match=f"column film hides {what} of vindr_cxr"):
        guard.check(hub)


@pytest.mark.parametrize(
    ("value", "what"),
    [(PNG, "bytes"), ([1.0], "a structure"), ({}, "a structure"), (None, None), (3, None), (0.5, None), ("mass", None)],
)
def test_bytes_and_structures_count_as_content_and_keys_and_numbers_do_not(value, what):
    assert guard._content(value) == what


def test_an_undeclared_source_is_refused(hub):
    rows = pq.read_table(hub / CASES).to_pylist()
    rows[0]["source"] = "hospital"
    _write(rows, tables.schema("direct"), hub / CASES)
    with pytest.raises(LicenceError, match="column source names 'hospital', which declares nothing"):
        guard.check(hub)


def test_an_undeclared_column_is_refused(hub):
    table = pq.read_table(hub / CASES)
    pq.write_table(table.append_column("note", pa.array(["x"] * len(table))), hub / CASES)
    with pytest.raises(LicenceError, match="column note is not declared"):
        guard.check(hub)


def test_metadata_of_a_shard_is_refused(hub):
    table = pq.read_table(hub / CASES)
    pq.write_table(table.replace_schema_metadata({"medground": PNG}), hub / CASES)
    with pytest.raises(LicenceError, match="metadata key medground"):
        guard.check(hub)


@pytest.mark.parametrize("name", ["film.png", "direct/film.jpg", "notes.txt", "extra/dev-00000-of-00001.parquet", ".x"])
def test_undeclared_files_are_refused(hub, name):
    path = hub / name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(hub / CASES, path)
    with pytest.raises(LicenceError, match=name.replace(".", r"\.")):
        guard.check(hub)


def test_links_are_refused(hub, tmp_path):
    (hub / "LICENSE.md").unlink()
    (tmp_path / "elsewhere").write_text("x")
    (hub / "LICENSE.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LicenceError, match=r"LICENSE\.md: a link or a device"):
        guard.check(hub)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction_direct": "Yes, at the left base."}, "prediction_direct holds text of imagenome"),
        ({"regions": [[0, 0, 1, 1]]}, "regions of imagenome is not declared"),
        ({"dataset": "hospital"}, "dataset 'hospital' declares nothing"),
        ({"answer": "film.jpg"}, "hides a file path of imagenome"),
        ({"index": "7"}, "index of imagenome is not of its type"),
        ({"index": True}, "index of imagenome is not of its type"),
        ({"answer": 7}, "answer of imagenome is not of its type"),
    ],
)
def test_paper_records_of_restricted_sources(hub, change, message):
    answers = json.loads((hub / "direct.json").read_text())
    next(record for record in answers if record["dataset"] == "imagenome").update(change)
    (hub / "direct.json").write_text(json.dumps(answers))
    with pytest.raises(LicenceError, match=message):
        guard.check(hub)


def test_the_beginning_of_an_image_is_found_anywhere_in_a_text():
    assert guard.encoded("iVBORw0KGgo") and guard.encoded("The film: iVBORw0KGgo, and more.")
    assert not guard.encoded("The film, and more.")


def test_a_picture_in_the_card_is_refused(hub):
    card = hub / "README.md"
    card.write_text(card.read_text() + f"![](data:image/png;base64,{base64.b64encode(PNG).decode()})")
    with pytest.raises(LicenceError, match=r"README\.md: holds an image"):
        guard.check(hub)


def test_a_track_may_not_name_a_finding_that_no_case_names(hub):
    shard = hub / "baselines/dev-00000-of-00001.parquet"
    rows = pq.read_table(shard).to_pylist()
    rows[0]["track"] = "finding=vindr_cxr finding"
    _write(rows, tables.schema("baselines"), shard)
    with pytest.raises(LicenceError, match="column track names the finding 'vindr_cxr finding'"):
        guard.check(hub)


def test_what_each_source_declares():
    for name in ("imagenome", "vindr_cxr", "padchest_gr"):
        assert licences.source(name).may_leave == {Kind.KEY, Kind.VERDICT, Kind.HASH, Kind.AGGREGATE}
    for name in ("phantom_region", "phantom_lesion", "nih_cxr"):
        assert licences.source(name).may_leave == set(Kind)
    with pytest.raises(LicenceError, match="'hospital' does not declare what may leave"):
        licences.source("hospital")


def _write(rows, schema, path):
    write_shard(pa.Table.from_pylist(rows, schema), path)


def test_every_row_group_is_looked_at(hub):
    """The first holds nothing wrong."""
    rows = pq.read_table(hub / FILMS).to_pylist()
    free = [row for row in rows if row["source"] not in RESTRICTED]
    bad = next(row for row in rows if row["source"] == "vindr_cxr") | {"width": 5}
    table = pa.Table.from_pylist([free[0]] * tables.ROW_GROUP + [bad], tables.schema("films"))
    write_shard(table, hub / FILMS)
    assert pq.ParquetFile(hub / FILMS).num_row_groups == 2
    with pytest.raises(LicenceError, match=r"column width holds boxes of vindr_cxr \(1 rows\)"):
        guard.check(hub)


def test_rows_in_other_groups_than_the_export_makes_are_refused(hub):
    rows = pq.read_table(hub / FILMS).to_pylist()
    free = [row for row in rows if row["source"] not in RESTRICTED]
    table = pa.Table.from_pylist(free[:1] * 3 * tables.ROW_GROUP, tables.schema("films"))
    write_shard(table, hub / FILMS)
    guard.check(hub)
    size = tables.ROW_GROUP // 2
    pq.write_table(table, hub / FILMS, compression="zstd", row_group_size=size, write_page_checksum=True)
    with pytest.raises(LicenceError, match="holds bytes besides its rows"):
        guard.check(hub)


@pytest.mark.parametrize(("kind", "refused"), [(Kind.PIXELS, True), (Kind.TEXT, False)])
def test_rows_are_searched_where_pixels_may_not_leave(hub, monkeypatch, kind, refused):
    """A source that lets all but one kind leave: it is the pixels whose hiding-places are searched."""
    row = {"source": "phantom_lesion", "film": base64.b64encode(PNG).decode()}
    table = pa.Table.from_pylist([row], pa.schema([("source", pa.string()), ("film", pa.string())]))
    allowed = licences.EVERYTHING - {kind}
    monkeypatch.setattr(guard, "declaration", lambda name: type("Terms", (), {"may_leave": allowed}))
    found = [problem for problem, _ in guard._by_source(table, {"source": Kind.KEY, "film": Kind.KEY})]
    assert any("hides an image" in problem for problem in found) == refused


def test_nothing_is_in_a_shard_but_its_rows(hub):
    """Metadata of a field or of the features, bytes before the footer, another compression: all are refused."""
    original, shard = (hub / CASES).read_bytes(), hub / CASES
    table = pq.read_table(shard)
    secret = base64.b64encode(PNG * 9)
    field = table.schema.field("film").with_metadata({"note": secret})
    place = table.schema.get_field_index("film")
    pq.write_table(table.cast(table.schema.set(place, field)), shard, compression="zstd", row_group_size=128)
    with pytest.raises(LicenceError, match="its columns, types or metadata are not those"):
        guard.check(hub)
    pq.write_table(table.replace_schema_metadata({"huggingface": secret}), shard, compression="zstd")
    with pytest.raises(LicenceError, match="its columns, types or metadata are not those"):
        guard.check(hub)
    footer = int.from_bytes(original[-8:-4], "little") + 8
    for changed in (original[:-footer] + PNG + original[-footer:],):
        shard.write_bytes(changed)
        assert pq.read_table(shard).equals(table)  # a reader sees nothing of it
        with pytest.raises(LicenceError, match="holds bytes besides its rows"):
            guard.check(hub)
    pq.write_table(table, shard, compression="gzip", row_group_size=128)
    with pytest.raises(LicenceError, match="holds bytes besides its rows"):
        guard.check(hub)
    shard.write_bytes(original)
    guard.check(hub)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("revision", "QUJD" * 20),
        ("patient_id", "p" * 81),
        ("film", "1 2 3 4"),
        ("sha256", "Z" * 64),
        ("film", "41" * 45),
    ],
)
def test_keys_of_restricted_rows_have_the_form_of_keys(hub, column, value):
    config, name = ("films", FILMS) if column in ("sha256",) else ("direct", CASES)
    rows = pq.read_table(hub / name).to_pylist()
    next(row for row in rows if row["source"] == "vindr_cxr")[column] = value
    _write(rows, tables.schema(config), hub / name)
    with pytest.raises(LicenceError, match=f"column {column} of vindr_cxr is not of its form"):
        guard.check(hub)


@pytest.mark.parametrize("text", [PNG * 40, bytes(400)])
def test_encoded_bytes_in_texts_are_refused(hub, text):
    for encode in (base64.b64encode, base64.b16encode, base64.b32encode, base64.urlsafe_b64encode):
        for name in ("README.md", "croissant.json"):
            original = (hub / name).read_text()
            (hub / name).write_text(original + "\nSee: " + encode(text).decode())
            with pytest.raises(LicenceError, match=f"{name}: holds (an image|encoded bytes)"):
                guard.check(hub)
            (hub / name).write_text(original)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("direct.json", b'{"a": 1}', "direct.json: is not a list of records"),
        ("direct.json", b"[1, 2]", "direct.json: is not a list of records"),
        ("direct.json", b'[{"dataset": "vindr_cxr"}, 2]', "direct.json: is not a list of records"),
        ("direct.json", b"{", "direct.json: cannot be read"),
        ("direct.json", b"[" * 100_000, "direct.json: cannot be read"),
        ("README.md", "caf\xe9".encode("latin-1"), "README.md: cannot be read .UnicodeDecodeError"),
        (CASES, b"PAR1 no", f"{CASES}: cannot be read"),
        ("films/odd.parquet", None, "films/odd.parquet: its columns, types or metadata"),
        ("baselines/odd.parquet", None, "baselines/odd.parquet: its columns, types or metadata"),
        ("croissant.json", b" " * (5 << 20), "croissant.json: has more than 4,194,304 bytes"),
    ],
)
def test_broken_files_get_a_message(hub, name, content, message):
    if content is None:
        pq.write_table(pa.table({"source": ["vindr_cxr"]} if "films" in name else {"entry": ["x"]}), hub / name)
    else:
        (hub / name).write_bytes(content)
    with pytest.raises(LicenceError, match=message):
        guard.check(hub)


def test_a_link_to_a_folder_is_refused(hub, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (hub / "films/more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LicenceError, match="films/more: a link or a device"):
        guard.check(hub)


def test_the_mark_lists_what_is_there(hub):
    (hub / ".medground").write_text((hub / ".medground").read_text() + base64.b64encode(PNG).decode())
    with pytest.raises(LicenceError, match=r"\.medground: is not what"):
        guard.check(hub)


def _literal(text):
    return text.replace("(", r"\(").replace(")", r"\)").replace(".", r"\.")
