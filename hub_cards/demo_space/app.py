from lamp_hf.demo import launch


launch()
