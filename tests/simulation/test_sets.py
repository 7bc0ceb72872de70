"""The sets of the simulation by themselves: what is said of a chain is what its files come to."""

import gzip
import json

from chalicelib.backup import layout
from chalicelib.backup.chain import links_of, missing_links
from chalicelib.backup.manifest import decode_manifest
from tests.simulation.chains import Backed, chain_of
from tests.simulation.sets import DATE, finished_set
from tests.simulation.world import PREFIX


def test_a_chains_files_come_to_what_is_said_of_it():
    backed = Backed("orders", items=120, refused=2, increments=3)
    objects = finished_set((backed, Backed("catalog")))
    key = layout.manifest_key(PREFIX, DATE)
    table = decode_manifest(objects[key][0], key=key, exports_prefix=PREFIX, backup_date=DATE).table("orders")
    assert table is not None
    links = links_of(table)
    assert missing_links(table) == []
    assert [link.backup_date for link in links] == ["2026-11-17", "2026-11-18", "2026-11-19", DATE]
    said: list[dict[str, str | None]] = []
    lines = 0
    for link in links:
        said.append({})
        for record in (json.loads(line) for line in objects[link.manifest_files_key][0].split(b"\n")[:-1]):
            for line in gzip.decompress(objects[record["dataFileS3Key"]][0]).split(b"\n")[:-1]:
                lines += 1
                document = json.loads(line)
                image = document.get("Item") or document.get("NewImage")
                name = (image or document["Keys"])["id"]["S"]
                if name:
                    said[-1][name] = image and image["said"]["S"]
    chain = chain_of(backed)
    assert said == [{name: item and item["said"]["S"] for name, item in link.items()} for link in chain.links]
    assert lines == chain.lines == sum(link.item_count for link in links)
    assert sum(item is None for item in chain.last_words.values()) > 10
