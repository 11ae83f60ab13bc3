#!/bin/sh
# The commands of the start page on a plain install, without extras: what they need is there, or the message names it.
# usage: plain_install.sh path/to/fastsim
set -eu
fastsim=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
data=$(cd "$(dirname "$0")/../data/examples" && pwd)
cd "$folder"
"$fastsim" models > models.txt
"$fastsim" generate "$data/pp_dijet.lhe.gz" -o events.hepmc3.gz --seed 1 -n 20
"$fastsim" verify events.hepmc3.gz
"$fastsim" reference --gun "flavour=u,g pt=50:500 eta=-2:2 num=300" -o real.h5 --seed 1
"$fastsim" generate --gun "flavour=u,g pt=50:500 eta=-2:2 num=300" -o model.h5 --seed 2
"$fastsim" evaluate real.h5 model.h5 --metrics fpd,kpd,w1 -o result.json
# a metric whose library is not there: one line that names the extra and the command
if "$fastsim" evaluate real.h5 model.h5 --metrics emd 2> message.txt; then
    grep -q "evaluate" message.txt || true
else
    grep -q "evaluate" message.txt
fi
echo "plain install: all commands passed"
