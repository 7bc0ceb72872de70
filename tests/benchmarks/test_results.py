"""How results get into the README."""

from benchmarks.__main__ import README, with_sections

ABOUT = "# Benchmarks\n\n### what is measured\n"


def test_a_result_takes_the_place_of_the_last_one_and_the_others_stay():
    text = with_sections(ABOUT, ["### Memory\n\n| 10 MB |\n", "### API\n\n| p50 |\n"])
    assert text == f"{ABOUT}\n## Results\n\nWritten by `make bench`.\n\n### Memory\n\n| 10 MB |\n\n### API\n\n| p50 |\n"
    again = with_sections(text, ["### Memory\n\n| 11 MB |\n", "### Planning\n\n| s |\n"])
    assert again == text.replace("10 MB", "11 MB") + "\n### Planning\n\n| s |\n"
    assert with_sections(again, []) == again


def test_the_readme_has_one_place_for_them():
    assert README.read_text().count("\n## Results\n") <= 1
