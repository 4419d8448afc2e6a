"""Any flags and any config file give a `Config` or one message, never a traceback."""

import dataclasses
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jax_resnet.cli.train import parse_config
from jax_resnet.errors import UserError
from jax_resnet.training.config import OF_A_START, Config

FIELDS = [field.name for field in dataclasses.fields(Config)]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
keys = st.sampled_from([*FIELDS, "environment"])
# A value of the right kind now and then, or every second file would be refused at its first key.
likely = st.sampled_from([1, 2, 0.5, 8, 20, None, True, "none", "resnet", "fast", [8, 8], "ü", 1e9])
fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def parse_or_refuse(words):
    """A `Config` or None; any exception but `UserError` and the parser's exit fails the test."""
    try:
        config = parse_config(words)
    except (UserError, SystemExit) as error:
        refusal = error
    else:
        assert type(config) is Config
        assert 1 <= config.steps * config.batch_size < 2**31
        json.dumps(config.to_json(), allow_nan=False).encode()
        config.run_name.encode()
        return config
    if isinstance(refusal, SystemExit):
        assert refusal.code in (None, 0, 2)
    assert len(str(refusal)) < 1000
    return None


@fuzz
@given(st.dictionaries(keys, likely | json_values, max_size=3) | st.text(max_size=20))
def test_any_config_file_gives_a_config_or_a_message(write_config, content):
    config = parse_or_refuse(["--config", write_config(content)])
    if config and isinstance(content, dict):
        kept = content.keys() - {"environment", "data_dir", "runs_dir"}  # paths lose doubled "/"
        if content.get("environment") is not None:  # as a run's own file, which is for any process
            kept -= {*OF_A_START}
        # A null of these stands for a default that depends on other fields.
        kept -= {k for k in ("shortcut", "flip") if content.get(k) is None}
        found = {k: config.to_json()[k] for k in kept}
        # A whole number for a float has as many digits as a float has.
        expected = {k: float(content[k]) if type(found[k]) is float else content[k] for k in kept}
        assert found == expected


flags = st.sampled_from([f"--{name.replace('_', '-')}" for name in FIELDS])
words = st.sampled_from(["nan", "inf", "-1", "0", "1", "1e30", "None", "True", str(10**30), "fast"])


@fuzz
@given(st.lists(flags | words | st.text(max_size=8), max_size=4))
def test_any_words_give_a_config_or_a_message(arguments):
    parse_or_refuse(arguments)
