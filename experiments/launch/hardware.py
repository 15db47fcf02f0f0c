"""Print what a launch here would compute on.

python -m experiments.launch.hardware
"""

from experiments.launch import app, devices

if __name__ == "__main__":
    app.run(lambda argv: print(devices.line()))
