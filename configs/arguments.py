"""Command lines of programs with settings."""

from argparse import Namespace
from collections.abc import Callable, Sequence

from utils.command_line import Parser

from .loading import merge_config, read_config_files


def parse_arguments(
    description: str,
    arguments: Sequence[str] | None = None,
    add_options: Callable[[Parser], None] = lambda parser: None,
) -> Namespace:
    """Parse any number of `--config_file FILE` and `KEY VALUE` pairs (`opts`), in any order.

    `add_options` adds the program's own options. Without `arguments`, the command line of this process is parsed. The
    files are read, and raise `InputError` with the settings as `merge_config`, before the program imports anything
    large.
    """
    parser = Parser(description)
    help = "YAML file with differences from configs/defaults.py; may be repeated, later files override earlier ones"
    parser.add_argument("--config_file", action="append", default=[], metavar="FILE", help=help)
    add_options(parser)
    parser.add_argument("opts", nargs="*", help="settings that override the files: KEY VALUE KEY VALUE ...")
    options = parser.parse_intermixed_args(arguments)
    options.config_file = read_config_files(options.config_file)
    merge_config(options.config_file, options.opts)
    return options
