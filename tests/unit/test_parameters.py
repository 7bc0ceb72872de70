"""Parameters in place of variables: by which names, what wins, and what is said of what is missing or wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import SettingsInvalid
from chalicelib.parameters import VARIABLES, Parameter, merge, parameter_path, settings_of
from chalicelib.settings import AsOf, Settings, read_settings
from sandbox.errors import SandboxError
from sandbox.stage import Stage

PATH = "/test/stg/infra"
REQUIRED = {"BACKUP_BUCKET": "backups", "ENVIRONMENT": "tests", "DYNAMODB_TABLES": '["orders"]'}
SECRET = "a-secret nobody may see; allowed: nothing"


def under(values: dict[str, str], *, secret: bool = False) -> list[Parameter]:
    return [Parameter(f"{PATH}/{name}", value, secret) for name, value in values.items()]


def read(environ: dict[str, str], *parameters: Parameter) -> Settings:
    return settings_of({"SSM_PARAMETER_PATH": PATH, **environ}, PATH, parameters)


def faults(environ: dict[str, str], *parameters: Parameter) -> dict[str, str]:
    with pytest.raises(SettingsInvalid) as raised:
        read(environ, *parameters)
    found = {fault.path: fault.message for fault in raised.value.faults}
    assert len(found) == len(raised.value.faults), "one variable is named twice"
    return found


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in REQUIRED.items() if name not in names}


# --- names ----------------------------------------------------------------------------------------------------------


class Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(REQUIRED)
        self.names: set[str] = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)


def test_every_variable_may_be_a_parameter():
    """A variable that is new in settings.py belongs into VARIABLES too, else nobody can set it by a parameter."""
    environ = Asked()
    read_settings(environ)
    assert environ.names == VARIABLES


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("BACKUP_BUCKET", "from-ssm", "backup_bucket", "from-ssm"),
        ("BACKUP_BUCKET_NAME", "from-ssm", "backup_bucket", "from-ssm"),
        ("BACKUP_DAY_STR", "31", "as_of", AsOf(31)),
        ("BACKUP_DAY_STR", "EVERYDAY", "as_of", AsOf()),
        ("BACKUP_HOUR_STR", "01", "as_of", AsOf(None, 3600)),
        ("BACKUP_MINUTE_STR", "1", "as_of", AsOf(None, 60)),
        ("BACKUP_SECOND_STR", "1", "as_of", AsOf(None, 1)),
        ("BACKUP_HOUR", "1", "as_of", AsOf(None, 3600)),
        ("LEDGER_TABLE", "our-ledger", "ledger_table", "our-ledger"),
        ("LEDGER_TABLE_NAME", "our-ledger", "ledger_table", "our-ledger"),
        ("ENVIRONMENT", " stg ", "environment", "stg"),
        ("RESTORE_MAX_CONCURRENCY", "7", "restore_max_concurrency", 7),
        ("API_TOKENS_PARAMETER", "/tokens", "api_tokens_parameter", "/tokens"),
        ("RESTORE_QUEUE", "woken", "restore_queue", "woken"),
        ("S3_EXPORTS_PREFIX", "elsewhere", "s3_exports_prefix", "elsewhere"),
    ],
)
def test_a_parameter_is_taken_by_our_name_and_by_the_one_people_have(name, value, field, expected):
    environ = without({"BACKUP_BUCKET_NAME": "BACKUP_BUCKET"}.get(name, name))
    assert getattr(read(environ, *under({name: value})), field) == expected
    assert getattr(read(environ, *under({name: value}, secret=True)), field) == expected


@pytest.mark.parametrize(
    "name", ["DATABASE_PASSWORD", "BACKUP_BUCKET_NAME_OLD", "backup_hour", "BACKUP_HOUR_NAME", "SSM_PARAMETER_PATH"]
)
def test_what_is_not_ours_is_ignored(name):
    assert read(REQUIRED, *under({name: "\n not even [a] setting"})) == read(REQUIRED)


def test_what_nothing_sets_has_its_default():
    assert read({}, *under(REQUIRED)) == read_settings(REQUIRED)


# --- what wins ------------------------------------------------------------------------------------------------------


def test_the_environment_wins_and_what_parameters_say_otherwise_is_no_fault():
    parameters = under({"BACKUP_BUCKET": "Not_A_Bucket", "BACKUP_BUCKET_NAME": "another", "ORDERS_TABLE_NAME": "!"})
    assert read(REQUIRED, *parameters) == read_settings(REQUIRED)


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_blank_is_not_set_in_the_environment_nor_as_a_parameter(blank):
    assert read({**REQUIRED, "BACKUP_BUCKET": blank}, *under({"BACKUP_BUCKET": "named"})).backup_bucket == "named"
    both = under({"BACKUP_BUCKET": blank, "BACKUP_BUCKET_NAME": "named"})
    assert read(without("BACKUP_BUCKET"), *both).backup_bucket == "named"
    assert "BACKUP_BUCKET" in faults(without("BACKUP_BUCKET"), *under({"BACKUP_BUCKET": blank}))


def test_two_names_that_say_the_same_are_no_fault():
    parameters = under({"BACKUP_BUCKET": "backups", "BACKUP_BUCKET_NAME": " backups "})
    assert read(without("BACKUP_BUCKET"), *parameters).backup_bucket == "backups"


def test_two_names_that_say_different_things_are_a_fault_that_names_both():
    parameters = under({"BACKUP_BUCKET_NAME": "one", "BACKUP_BUCKET": "two"})
    found = faults(without("BACKUP_BUCKET"), *parameters)
    assert list(found) == ["BACKUP_BUCKET"]
    assert all(
        text in found["BACKUP_BUCKET"]
        for text in (f"{PATH}/BACKUP_BUCKET is 'two'", f"{PATH}/BACKUP_BUCKET_NAME is 'one'")
    )


# --- one parameter per table ----------------------------------------------------------------------------------------


def tables(environ: dict[str, str], *parameters: Parameter) -> list[str]:
    return [entry.text for entry in read(environ, *parameters).dynamodb_tables.entries]


NO_TABLES = without("DYNAMODB_TABLES")
TABLES = {"USERS_TABLE_NAME": "users-stg", "ORDERS_TABLE_NAME": "orders-stg", "A_TABLE_NAME": "zones-stg"}


def test_tables_are_the_values_of_their_parameters_by_the_parameters_names():
    assert tables(NO_TABLES, *under(TABLES)) == ["zones-stg", "orders-stg", "users-stg"]


def test_dynamodb_tables_goes_before_them_wherever_it_is_set():
    assert tables(REQUIRED, *under(TABLES)) == ["orders"]
    assert tables(NO_TABLES, *under({**TABLES, "DYNAMODB_TABLES": '["app_*"]'})) == ["app_*"]


def test_a_table_that_two_parameters_name_is_backed_up_once():
    assert tables(NO_TABLES, *under({"A_TABLE_NAME": "orders", "B_TABLE_NAME": " orders "})) == ["orders"]


def test_the_ledger_is_no_table_to_back_up_by_whatever_name_it_is_there():
    parameters = under({**TABLES, "LEDGER_TABLE_NAME": "our-ledger", "VAULT_TABLE_NAME": "our-ledger"})
    assert tables(NO_TABLES, *parameters) == ["zones-stg", "orders-stg", "users-stg"]
    assert read(NO_TABLES, *parameters).ledger_table == "our-ledger"
    from_environ = {**NO_TABLES, "LEDGER_TABLE": "orders-stg"}
    assert tables(from_environ, *under(TABLES)) == ["zones-stg", "users-stg"]
    assert "is required" in faults(NO_TABLES, *under({"LEDGER_TABLE_NAME": "our-ledger"}))["DYNAMODB_TABLES"]


@pytest.mark.parametrize("value", ["orders-*", "!orders", "tag:backup=daily", '["orders"]', "a b c", "ab"])
def test_a_table_parameter_names_one_table_and_the_fault_names_the_parameter(value):
    found = faults(NO_TABLES, *under({**TABLES, "ODD_TABLE_NAME": value}))
    assert list(found) == ["DYNAMODB_TABLES"]
    assert f"parameter {PATH}/ODD_TABLE_NAME is {value!r}" in found["DYNAMODB_TABLES"]
    assert "ORDERS" not in found["DYNAMODB_TABLES"]


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "names"),
    [
        ("BACKUP_BUCKET", f"{PATH}/BACKUP_BUCKET or {PATH}/BACKUP_BUCKET_NAME"),
        ("DYNAMODB_TABLES", f"{PATH}/DYNAMODB_TABLES or {PATH}/*_TABLE_NAME"),
        ("ENVIRONMENT", f"parameter {PATH}/ENVIRONMENT "),
    ],
)
def test_what_is_missing_is_told_with_where_it_was_looked_for(variable, names):
    message = faults(without(variable), *under({"STRANGE": "x", "BACKUP_HOUR": "1"}))[variable]
    assert names in message
    assert "neither in the environment" in message
    assert f"under {PATH}, 1 of 2 parameters are tablevault's" in message


def test_a_wrong_value_is_told_with_where_it_is_from():
    environ = {**without("BACKUP_BUCKET"), "BACKUP_MINUTE": "60"}
    found = faults(
        environ, *under({"BACKUP_BUCKET_NAME": "Not_A_Bucket", "BACKUP_HOUR_STR": "24", "RETENTION_DAYS": "0"})
    )
    assert found["BACKUP_BUCKET"].endswith(f"(from parameter {PATH}/BACKUP_BUCKET_NAME)")
    assert "'Not_A_Bucket'" in found["BACKUP_BUCKET"]
    assert found["BACKUP_HOUR"].endswith(f"(from parameter {PATH}/BACKUP_HOUR_STR)")
    assert found["BACKUP_MINUTE"].endswith("(from the environment variable)")
    assert found["RETENTION_DAYS"].endswith(f"(from parameter {PATH}/RETENTION_DAYS)")


def test_faults_of_parameters_and_of_settings_are_told_at_once():
    parameters = under({"BACKUP_BUCKET_NAME": "one", "BACKUP_BUCKET": "two", "BACKUP_HOUR": "24"})
    assert set(faults({}, *parameters)) == {"BACKUP_BUCKET", "BACKUP_HOUR", "ENVIRONMENT", "DYNAMODB_TABLES"}


REFUSING = sorted(VARIABLES - {"API_TOKENS_PARAMETER"})  # it takes any text


@pytest.mark.parametrize("variable", REFUSING)
def test_no_fault_shows_a_secret(variable):
    [message] = faults(without(variable), *under({variable: SECRET}, secret=True)).values()
    assert not [word for word in SECRET.split() if word in message.split("allowed:")[0]]
    assert "nobody" not in message
    assert f"{PATH}/{variable}" in message


@pytest.mark.parametrize("variable", REFUSING)
def test_but_shows_any_other_value(variable):
    """Else the test above could not fail."""
    [message] = faults(without(variable), *under({variable: SECRET})).values()
    assert "nobody" in message.lower()


@pytest.mark.parametrize(
    ("secret", "other"), [("BACKUP_BUCKET", "BACKUP_BUCKET_NAME"), ("BACKUP_BUCKET_NAME", "BACKUP_BUCKET")]
)
def test_nor_a_secret_that_another_parameter_contradicts(secret, other):
    parameters = under({secret: SECRET}, secret=True) + under({other: "another"})
    message = faults(without("BACKUP_BUCKET"), *parameters)["BACKUP_BUCKET"]
    assert f"{PATH}/{secret} is a SecureString (not shown)" in message
    assert f"{PATH}/{other} is 'another'" in message
    assert "nobody" not in message


def test_nor_a_secret_that_is_no_tables_name():
    message = faults(NO_TABLES, *under({"A_TABLE_NAME": SECRET}, secret=True), *under(TABLES))["DYNAMODB_TABLES"]
    assert f"{PATH}/A_TABLE_NAME is a SecureString (not shown)" in message
    assert "nobody" not in message


VALUES = st.one_of(st.sampled_from(["orders", "1", "[]", '["x*"]', ""]), st.text(max_size=12))
NAMES = st.sampled_from(
    [*sorted(VARIABLES), "BACKUP_BUCKET_NAME", "BACKUP_DAY_STR", "LEDGER_TABLE_NAME", "X_TABLE_NAME", "ELSE"]
)


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES))
def test_any_folder_is_taken_or_told_and_never_another_error(environ, folder):
    told = ""
    try:
        read(environ, *under(folder))
    except SettingsInvalid as error:
        told = error.message
    merged = merge(environ, PATH, under(folder))
    for name in VARIABLES:
        if environ.get(name, "").strip():
            assert merged.environ[name] == environ[name]
        elif folder.get(name, "").strip():
            assert merged.environ[name] == folder[name]
    assert told or merged.environ.keys() >= REQUIRED.keys()


@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), st.from_regex(r"[a-z]{3,6}", fullmatch=True), min_size=1))
def test_tables_do_not_depend_on_the_order_of_the_listing(value_by_name):
    parameters = under({f"{name}_TABLE_NAME": value for name, value in value_by_name.items()})
    texts = {merge({}, PATH, order).environ["DYNAMODB_TABLES"] for order in (parameters, parameters[::-1])}
    [text] = texts
    assert set(json.loads(text)) == set(value_by_name.values())


# --- the path -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [PATH, f"{PATH}/", f" {PATH} ", "/a", "/" + "/".join("abcdefghijklmn")])
def test_a_path(text):
    assert parameter_path({"SSM_PARAMETER_PATH": text}) == text.strip().rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "test/stg",
        "/",
        "//",
        "/a//b",
        "/a//",
        "/a b",
        "/a/*",
        "/ä",
        "arn:aws:ssm:eu-west-1:1:parameter/a",
        "/x" * 15,
        "/a\n/b",
    ],
)
def test_what_is_no_path_is_a_fault_of_its_variable(text):
    with pytest.raises(SettingsInvalid) as raised:
        parameter_path({"SSM_PARAMETER_PATH": text})
    [fault] = raised.value.faults
    assert fault.path == "SSM_PARAMETER_PATH"
    assert repr(text) in fault.message
    assert "such as /test/stg/infra" in fault.message


# --- the sandbox, which reads a stage before there is a Parameter Store ---------------------------------------------


def test_a_stage_with_a_path_is_read_by_what_it_names_itself():
    environ = {"SSM_PARAMETER_PATH": PATH, "BACKUP_BUCKET": "backups"}
    assert Stage("stg", "tablevault", environ, {}).backup_bucket == "backups"


@pytest.mark.parametrize(("environ", "is_told"), [({"SSM_PARAMETER_PATH": PATH}, True), ({}, False)])
def test_a_stage_that_leaves_its_resources_to_the_path_is_told_what_to_do(environ, is_told):
    with pytest.raises(SandboxError) as raised:
        _ = Stage("stg", "tablevault", environ, {}).backup_bucket
    assert "BACKUP_BUCKET" in str(raised.value)
    assert ("name the stage's resources in its own variables" in str(raised.value)) == is_told
