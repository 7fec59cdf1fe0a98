"""Each corpus from its publisher, into the cache, when no folder is at hand.

What is read is verified by its rows' content hash, which finds an address that has changed.
"""

import subprocess
import sys
import tarfile
from pathlib import Path

import pooch

from emolib import DataError, files

_GITHUB = "https://raw.githubusercontent.com"
_GOEMOTIONS = f"{_GITHUB}/google-research/google-research/master/goemotions/data"
ARCHIVE = "https://saifmohammad.com/WebDocs/AIT-2018/AIT2018-DATA/SemEval2018-Task1-all-data.zip"
ADDRESSES = {
    "semeval2018": (ARCHIVE,),
    "emobank": (f"{_GITHUB}/JULIELab/EmoBank/master/corpus/emobank.csv",),
    "sst": ("https://nlp.stanford.edu/~socherr/stanfordSentimentTreebank.zip",),
    "goemotions": tuple(f"{_GOEMOTIONS}/{x}.tsv" for x in ("train", "dev", "test")),
}
# As recorded for this address by the `datasets` project's sem_eval_2018_task_1 loader.
_SHA256 = {ARCHIVE: "8979a6ca0bd259ef375a44d812fd434efa799c66bc377e25cda599aa767640eb"}
_VADER = "vaderSentiment==3.3.2"  # its source distribution carries the ratings
_RATINGS = ("_GroundTruth.txt", "_anonDataRatings.txt")  # means, and each rater's own


def fetch(corpus: str) -> Path:
    """The folder in the cache that holds the corpus, downloaded if it is not there.

    For TDT, BRIGHTER and SemEval-2026 no lasting address is known; VADER's ratings come through
    pip. DataError says both ways to the data when this one does not work.
    """
    folder = pooch.os_cache("emolib") / corpus
    if corpus == "vader":
        return _fetch_vader(folder)
    if corpus not in ADDRESSES:
        raise _explain(corpus, "its publisher (no address is known that will last)")
    for address in ADDRESSES[corpus]:
        known = f"sha256:{_SHA256[address]}" if address in _SHA256 else None
        unzip = pooch.Unzip(extract_dir="files") if address.endswith(".zip") else None
        how = {"fname": Path(address).name, "processor": unzip, "progressbar": True}
        try:
            pooch.retrieve(address, known_hash=known, path=folder, **how)
        except Exception as error:  # pooch passes on whatever the network library raised
            raise _explain(corpus, address, error) from None
    return folder


def _fetch_vader(folder: Path) -> Path:
    if all(len(list(folder.glob(f"*{ending}"))) == 4 for ending in _RATINGS):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--no-binary", ":all:", "-d", str(folder), _VADER]
    done = subprocess.run(command, capture_output=True, text=True)
    archives = sorted(folder.glob("vader*.tar.gz"))
    if done.returncode or not archives:
        raise _explain("vader", f"pip download {_VADER}", done.stderr.strip()[-200:])
    _unpack(archives[0].open("rb"), folder)
    return folder


def _unpack(file, folder: Path) -> None:
    """The rating files, which lie in an archive inside the archive; nothing else."""
    with file, tarfile.open(fileobj=file) as archive:
        for member in archive:
            if member.name.endswith(".tar.gz"):
                _unpack(archive.extractfile(member), folder)
            elif member.isfile() and member.name.endswith(_RATINGS):
                target = folder / Path(member.name).name
                with files.replacing(target) as temporary:
                    temporary.write_bytes(archive.extractfile(member).read())


def _explain(corpus: str, way: str, error: object = "") -> DataError:
    kind = "" if isinstance(error, str) else f"{type(error).__name__}: "
    tried = f" (tried now: {kind}{str(error)[:200]})" if error else ""
    ours = f"no {corpus} data. Either set EMOLIB_DATA to a folder that holds the publisher's files"
    return DataError(f"{ours}, or let this machine reach {way}{tried}")
